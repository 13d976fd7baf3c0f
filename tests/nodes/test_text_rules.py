"""Texts as the trainers' own tokenizers read them, beside what those gave.

`text_rules.json` was written by them, on ComfyUI's vocabulary, which is OpenAI's. "weighted", "long": strategies of
kohya-ss/sd-scripts@48d368f with transformers 4.54.1 and ftfy 6.3.1; hidden states of "long" are the tokens' own ids.
"literal": that CLIPTokenizer alone. "diffusers": transformers 5.5.4, for CLIP-G with the padding token "!". Equal
values at the end of a list are there once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.trainers.kohya.text import looks_misread, repaired, weighted_parts

DATA = json.loads(Path(__file__).with_name("text_rules.json").read_text(encoding="utf-8"))
WHOLE = {"prompt_2": "", "prompt_3": "", "t5_length": 0, "empty": "encode", "width": 64, "height": 64}


@pytest.fixture(scope="module")
def clips(comfy_host: Any) -> dict[str, Any]:
    return {"sdxl": small_models.sdxl_clip(), "sd35": small_models.sd35_clip(), "flux": small_models.flux_clip()}


def spread(values: list[Any], length: int) -> list[Any]:
    return values + values[-1:] * (length - len(values))


def tokens_of(comfy_host: Any, clip: Any, text: str, **settings: Any) -> dict[str, Any]:
    module = comfy_host.pack("host.text.encode")
    found: dict[str, Any] = module.tokenize(clip, (text, "", ""), module.TextSettings(**settings))
    return found


@pytest.mark.parametrize("text", DATA["weighted"])
def test_tokens_are_kohyas(comfy_host: Any, clips: dict[str, Any], text: str) -> None:
    """Brackets, repaired characters, and the T5 of Flux and SD 3.5, which gets the text as it is written."""
    kohya = {"text_rules": "kohya", "long_prompt": "truncate"}
    tokens = tokens_of(comfy_host, clips["sdxl"], text, weighting=True, **kohya)
    *ids, weights = (spread(values, 77) for values in DATA["weighted"][text])
    for key, expected in zip("lg", ids, strict=True):
        assert [token for token, _ in tokens[key][0]] == expected
        assert [weight for _, weight in tokens[key][0]] == pytest.approx(weights, abs=1e-6)
    for family in ("sd35", "flux"):
        tokens = tokens_of(comfy_host, clips[family], text, **kohya)
        assert tokens["l"] == [[(token, 1.0) for token in spread(DATA["literal"][text], 77)]]
        assert tokens["t5xxl"] == tokens_of(comfy_host, clips[family], text)["t5xxl"]


@pytest.mark.parametrize("text", DATA["diffusers"])
def test_tokens_are_those_of_diffusers_repositories(comfy_host: Any, clips: dict[str, Any], text: str) -> None:
    """`!` is CLIP-G's padding token there, wherever it stands; CLIP-L's is another."""
    tokens = tokens_of(comfy_host, clips["sd35"], text, text_rules="diffusers", long_prompt="truncate")
    for key, expected in zip("lg", DATA["diffusers"][text], strict=True):
        assert tokens[key] == [[(token, 1.0) for token in spread(expected, 77)]]


@pytest.mark.parametrize("text", DATA["long"])
def test_long_prompts_are_kohyas(comfy_host: Any, clips: dict[str, Any], text: str) -> None:
    rules = comfy_host.pack("host.text.rules")
    for length, expected in DATA["long"][text].items():
        how = {"text_rules": "kohya", "long_prompt": length, "weighting": True}
        tokens = tokens_of(comfy_host, clips["sdxl"], text, **how)
        weighed = rules.weighed(tokens["l"], comfy_host.pack("host.text.encode").TextSettings(**how))
        for key, values in zip("lg", expected, strict=True):
            hidden = torch.tensor([[[float(token)] for chunk in tokens[key] for token, _ in chunk]])
            assert weighed(hidden)[0, :, 0].tolist() == pytest.approx(spread(values, int(length) + 2), abs=2e-3)
        given = {"clip": clips["sdxl"], "prompt": text, **how, **WHOLE}
        cond, extra = outputs(comfy_host, "EriTripleTextEncode", **given)[0][0]
        assert cond.shape[1] == int(length) + 2
        assert extra["pooled_output"].shape[0] == 1


def test_weights_multiply_what_the_encoders_give(comfy_host: Any, clips: dict[str, Any]) -> None:
    """Beside ComfyUI's own encoding of the same tokens without weights; the pooled vector has none."""
    text, clip = "a (red:1.3) blaff on a [white] background", clips["sdxl"]
    plain = outputs(comfy_host, "CLIPTextEncode", clip=clip, text="a red blaff on a white background")[0][0]
    how = {"text_rules": "kohya", "long_prompt": "truncate", "weighting": True}
    ours = outputs(comfy_host, "EriTripleTextEncode", clip=clip, prompt=text, **how, **WHOLE)[0][0]
    weights = torch.tensor(spread(DATA["weighted"][text][2], 77))
    torch.testing.assert_close(ours[0], plain[0] * weights[None, :, None], rtol=1e-6, atol=0)
    assert ours[1]["pooled_output"].equal(plain[1]["pooled_output"])


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("sdxl", {"text_rules": "diffusers", "weighting": True}, "Switch weighting off"),
        ("flux", {"text_rules": "kohya", "weighting": True}, "for SDXL only"),
        ("sdxl", {"long_prompt": "225"}, "kohya's max_token_length"),
        ("sdxl", {"text_rules": "kohya", "weighting": True, "prompt_2": "b"}, "Clear prompt_2"),
        ("sdxl", {"text_rules": "kohya", "weighting": True, "prompt": "(a:1.2.3)"}, "weight that is no number"),
    ],
)
def test_what_no_trainer_has_is_refused(
    comfy_host: Any, clips: dict[str, Any], family: str, settings: dict[str, Any], said: str
) -> None:
    given = {"prompt": "a", "weighting": False, **WHOLE, **settings}
    with pytest.raises(ValueError, match=said):
        outputs(comfy_host, "EriTripleTextEncode", clip=clips[family], **given)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [("", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 / 1.1), (" c", 1 / 1.1)]),
        (":1.5) un(closed [here", [(":1.5) un", 1.0), ("closed ", 1.1), ("here", 1.0)]),
        ("(x:+.5)(y:-2)", [("x", 0.5), ("y", -2.0)]),
    ],
)
def test_brackets_are_kohyas(text: str, parts: list[tuple[str, float]]) -> None:
    """The expected parts are what its `parse_prompt_attention` gives; some stand in its docstring."""
    found = weighted_parts(text)
    assert [part for part, _ in found] == [part for part, _ in parts]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in parts])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("&#x2019;&#59;&notit;&SZLIG;&nTILDE;", "'&#59;&notit;SS&nTILDE;"),
        ("1 < 2 &amp; 3\n&amp;", "1 < 2 &amp; 3\n&amp;"),
        ("\x1b[31mred\x1b[0m\x07 \ufffc", "red "),
        ("\x93q\x94\x81", '"q"\x81'),
        ("Ǆ ŉ ﬆ ﬅ Ĳ", "DŽ 'n st ſt IJ"),
        ("Ａ！　ﾃﾞ￠", "A! デ¢"),
        ("e\u0301\u200b…", "é\u200b…"),
    ],
)
def test_text_is_repaired_as_ftfy_does(text: str, left: str) -> None:
    """The expected texts are ftfy 6.3.1's."""
    assert repaired(text) == left


@pytest.mark.parametrize(
    ("text", "misread"),
    [("cafÃ©", True), ("itâ€™s", True), ("Ð¼Ð¸Ñ€", True), ("voilÃ le", True), ("café, naïve, 東京, мир, “q”", False),
     ("l’été, “écarlate”", False)],
)
def test_text_that_was_read_wrongly_is_seen(text: str, misread: bool) -> None:
    """ftfy 6.3.1 makes other texts of these, which is not done without it."""
    assert looks_misread(text) is misread


#: ftfy 6.3.1's. In kohya's brackets each part goes through it by itself.
REPAIRED = {"cafÃ©": "café", "itâ€™s ðŸ ¹": "it's \U0001f839", "â\x80?": "\ufffd", "\x80à": "\u06c8"}


@pytest.mark.parametrize("there", [True, False])
def test_text_that_was_read_wrongly_is_repaired_where_ftfy_is(
    comfy_host: Any, clips: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    there: bool,
) -> None:
    """Tokens are those of the text that ftfy gives, without it those of the text as it is; which, is said."""
    if there:
        pytest.importorskip("ftfy")
    else:
        monkeypatch.setitem(sys.modules, "ftfy", None)
    kohya = {"text_rules": "kohya", "long_prompt": "truncate"}
    for text, left in REPAIRED.items():
        same = tokens_of(comfy_host, clips["flux"], text, **kohya)["l"] == tokens_of(
            comfy_host, clips["flux"], left, **kohya
        )["l"]
        assert looks_misread(text)
        assert same is there
    caplog.set_level("INFO")
    clip = small_models.sdxl_clip()  # one that remembers nothing
    for _ in range(2):  # what was encoded before is told again
        caplog.clear()
        given = {"clip": clip, "prompt": "a (cafÃ©:1.3)", "weighting": True, **kohya, **WHOLE}
        ours = outputs(comfy_host, "EriTripleTextEncode", **given)[0][0][0]
        assert "Triple Text Encode" in caplog.text
        assert ("repairs it for CLIP" if there else "pip install ftfy") in caplog.text
    plain = outputs(comfy_host, "EriTripleTextEncode", **{**given, "prompt": "a (café:1.3)"})[0][0][0]
    assert ours.equal(plain) is there
    caplog.clear()
    outputs(comfy_host, "EriTripleTextEncode", **{**given, "text_rules": "plain", "weighting": False})
    assert "ftfy" not in caplog.text
