"""EriTripleTextEncode beside the host's own text-encode nodes, on small encoders with the host's real tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.dev.trainer_tables import unused_fields
from comfyui_eridiffusion.families import FAMILIES, Family
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.chroma_models import chroma_clip
from comfyui_eridiffusion.tests.nodes.host_calls import outputs

WEIGHTED = "a (red:1.3) circle on a ((blue)) background"
PLAIN = "a red circle on a blue background"
LONG = "a red circle and a very tiny blue square, " * 12


@pytest.fixture(scope="module")
def clips(comfy_host: Any) -> dict[str, Any]:
    return {
        "flux": small_models.flux_clip(),
        "sd35": small_models.sd35_clip(),
        "sdxl": small_models.sdxl_clip(),
        "sd1": small_models.sd1_clip(),
    }


def run(comfy_host: Any, node: str, **inputs: Any) -> Any:
    return outputs(comfy_host, node, **inputs)[0]


def encode(comfy_host: Any, clip: Any, prompt: str, **changes: Any) -> Any:
    inputs = {
        "prompt_2": "",
        "prompt_3": "",
        "t5_length": 0,
        "weighting": True,
        "empty": "encode",
        "width": 1024,
        "height": 1024,
        **changes,
    }
    return run(comfy_host, "EriTripleTextEncode", clip=clip, prompt=prompt, **inputs)


def same(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for (cond, extra), (expected, expected_extra) in zip(ours, theirs, strict=True):
        assert torch.equal(cond, expected)
        assert set(extra) == set(expected_extra)
        for key, value in expected_extra.items():
            assert torch.equal(extra[key], value) if torch.is_tensor(value) else extra[key] == value


@pytest.mark.parametrize("text", [WEIGHTED, PLAIN, LONG, "", "\\(literal\\) paren"])
def test_equals_clip_text_encode_for_flux_and_sd35(comfy_host: Any, clips: dict[str, Any], text: str) -> None:
    for family in ("flux", "sd35", "sd1"):
        same(encode(comfy_host, clips[family], text), run(comfy_host, "CLIPTextEncode", clip=clips[family], text=text))


@pytest.mark.parametrize(("second", "third"), [("a blue star", "grass (green:0.7)"), ("", ""), (LONG, "short")])
def test_equals_sd3_node(comfy_host: Any, clips: dict[str, Any], second: str, third: str) -> None:
    stock = run(
        comfy_host,
        "CLIPTextEncodeSD3",
        clip=clips["sd35"],
        clip_l=WEIGHTED,
        clip_g=second or WEIGHTED,
        t5xxl=third or WEIGHTED,
        empty_padding="empty_prompt",
    )
    same(encode(comfy_host, clips["sd35"], WEIGHTED, prompt_2=second, prompt_3=third), stock)


@pytest.mark.parametrize("second", ["something (else:1.4)", ""])
def test_equals_flux_node(comfy_host: Any, clips: dict[str, Any], second: str) -> None:
    stock = run(
        comfy_host, "CLIPTextEncodeFlux", clip=clips["flux"], clip_l=WEIGHTED, t5xxl=second or WEIGHTED, guidance=2.5
    )
    ours = encode(comfy_host, clips["flux"], WEIGHTED, prompt_2=second)
    same(run(comfy_host, "FluxGuidance", conditioning=ours, guidance=2.5), stock)


@pytest.mark.parametrize("second", ["something (else:1.4)", "", LONG])
def test_equals_sdxl_node(comfy_host: Any, clips: dict[str, Any], second: str) -> None:
    size = {"width": 832, "height": 1216, "crop_w": 0, "crop_h": 0, "target_width": 832, "target_height": 1216}
    stock = run(
        comfy_host, "CLIPTextEncodeSDXL", clip=clips["sdxl"], text_l=WEIGHTED, text_g=second or WEIGHTED, **size
    )
    same(encode(comfy_host, clips["sdxl"], WEIGHTED, prompt_2=second, width=832, height=1216), stock)


@pytest.mark.parametrize(
    "text",
    ["a (red:1.3) circle", "x \\(y\\) \\\\(z", "an embedding:nothing here", "embedding:a\nembedding:b (c)", "((("],
)
def test_literal_tokens_are_those_of_the_plain_tokenizer(comfy_host: Any, clips: dict[str, Any], text: str) -> None:
    """The expected ids come from the Hugging Face tokenizers themselves, which know no syntax."""
    tokenize = comfy_host.pack("host.text.encode").tokenize
    settings = comfy_host.pack("host.text.encode").TextSettings(weighting=False)
    tokens = tokenize(clips["sd35"], (text, "", ""), settings)
    for key, part in (("l", "clip_l"), ("g", "clip_g"), ("t5xxl", "t5xxl")):
        expected = getattr(clips["sd35"].tokenizer, part).tokenizer(text)["input_ids"]
        ids = [token for token, _ in tokens[key][0]]
        assert ids[: len(expected)] == expected
        assert all(weight == 1.0 for _, weight in tokens[key][0])


def test_literal_differs_from_weighting_and_leaves_the_clip_alone(comfy_host: Any, clips: dict[str, Any]) -> None:
    clip = clips["flux"]
    before = {name: vars(part).copy() for name, part in vars(clip.tokenizer).items()}
    literal = encode(comfy_host, clip, WEIGHTED, weighting=False)
    assert not torch.equal(literal[0][0], encode(comfy_host, clip, WEIGHTED)[0][0])
    same(encode(comfy_host, clip, PLAIN, weighting=False), run(comfy_host, "CLIPTextEncode", clip=clip, text=PLAIN))
    assert {name: vars(part) for name, part in vars(clip.tokenizer).items()} == before
    assert clip.tokenizer_options == {}


def test_an_embedding_file_is_not_taken_for_a_literal_prompt(comfy_host: Any, tmp_path: Path) -> None:
    module = comfy_host.pack("host.text.encode")
    save_file({"clip_l": torch.randn(2, small_models.CONTEXT)}, tmp_path / "thing.safetensors")
    clip = small_models.sd1_clip()
    clip.tokenizer.clip_l.embedding_directory = str(tmp_path)
    clip.tokenizer.clip_l.embedding_size = small_models.CONTEXT

    def has_vectors(weighting: bool) -> bool:
        tokens = module.tokenize(clip, ("a embedding:thing here", "", ""), module.TextSettings(weighting=weighting))
        return any(torch.is_tensor(item[0]) for item in tokens["l"][0])

    assert has_vectors(weighting=True)
    assert not has_vectors(weighting=False)


@pytest.mark.parametrize("length", [3, 16, 77, 154, 300, 512])
@pytest.mark.parametrize("text", [PLAIN, LONG, ""])
def test_exact_t5_length_as_hugging_face(comfy_host: Any, clips: dict[str, Any], length: int, text: str) -> None:
    module = comfy_host.pack("host.text.encode")
    for family in ("flux", "sd35"):
        tokens = module.tokenize(clips[family], (text, "", ""), module.TextSettings(t5_length=length))
        expected = clips[family].tokenizer.t5xxl.tokenizer(
            text, padding="max_length", truncation=True, max_length=length
        )["input_ids"]
        assert [token for token, _ in tokens["t5xxl"][0]] == expected
        assert len(tokens["t5xxl"]) == 1
    cond = encode(comfy_host, clips["flux"], text, weighting=False, t5_length=length)
    assert cond[0][0].shape[1] == length


def test_truncated_prompt_as_hugging_face(comfy_host: Any, clips: dict[str, Any]) -> None:
    module = comfy_host.pack("host.text.encode")
    settings = module.TextSettings(long_prompt="truncate")
    for family, parts in (("sdxl", "lg"), ("sd35", "lg"), ("flux", "l")):
        tokens = module.tokenize(clips[family], (LONG, "", ""), settings)
        for key in parts:
            tokenizer = getattr(clips[family].tokenizer, f"clip_{key}").tokenizer
            expected = tokenizer(LONG, truncation=True, max_length=77)["input_ids"]
            assert [[token for token, _ in chunk] for chunk in tokens[key]] == [expected]
        short = module.tokenize(clips[family], (PLAIN, "", ""), settings)
        assert short == module.tokenize(clips[family], (PLAIN, "", ""), module.TextSettings())


@pytest.mark.parametrize(
    "missing", [{"clip_l": False}, {"clip_g": False}, {"clip_l": False, "clip_g": False}, {"t5": False}]
)
def test_missing_encoders(comfy_host: Any, missing: dict[str, bool]) -> None:
    clip = small_models.sd35_clip(**missing)
    same(encode(comfy_host, clip, WEIGHTED), run(comfy_host, "CLIPTextEncode", clip=clip, text=WEIGHTED))
    cond = encode(comfy_host, clip, PLAIN, weighting=False, t5_length=40)[0][0]
    clip_tokens = 0 if not missing.get("clip_l", True) and not missing.get("clip_g", True) else 77
    assert cond.shape == (1, clip_tokens + (40 if missing.get("t5", True) else 0), 4096)


@pytest.mark.parametrize(
    "missing", [{"t5": False}, {"clip_l": False, "clip_g": False}, {"clip_l": False}, {"clip_g": False}, {}]
)
def test_missing_encoders_as_zero_tokens(comfy_host: Any, missing: dict[str, bool]) -> None:
    """diffusers' SD 3 pipeline gives zeros [1, max_sequence_length, 4096] for a text encoder that is not there."""
    clip = small_models.sd35_clip(**missing)
    ours = encode(comfy_host, clip, PLAIN, weighting=False, t5_length=154, missing="zeros")
    there = encode(comfy_host, clip, PLAIN, weighting=False, t5_length=154)
    assert ours[0][0].shape == (1, 77 + 154, 4096)
    t5 = slice(77, None) if missing.get("t5", True) else slice(0, 0)
    clips = slice(0, 77) if missing.get("clip_l", True) or missing.get("clip_g", True) else slice(0, 0)
    zero = torch.ones(77 + 154, dtype=torch.bool)
    zero[t5] = zero[clips] = False
    assert torch.equal(ours[0][0][:, zero], torch.zeros(1, int(zero.sum()), 4096))
    assert torch.equal(ours[0][0][:, ~zero], there[0][0])
    assert torch.equal(ours[0][1]["pooled_output"], there[0][1]["pooled_output"])
    assert encode(comfy_host, clip, PLAIN, weighting=False, missing="zeros")[0][0].shape == (1, 77 + 77, 4096)


@pytest.mark.parametrize("without", [{}, {"clip_g": False}, {"t5": False}])
def test_no_tokens_for_empty_prompts_as_the_sd3_node(comfy_host: Any, without: dict[str, bool]) -> None:
    clip = small_models.sd35_clip(**without)
    for texts in (("", "", ""), ("", " ", PLAIN), (PLAIN, " ", " "), (LONG, PLAIN, " ")):
        names = dict(zip(("clip_l", "clip_g", "t5xxl"), (text.strip(" ") for text in texts), strict=True))
        stock = run(comfy_host, "CLIPTextEncodeSD3", clip=clip, empty_padding="none", **names)
        same(encode(comfy_host, clip, texts[0], prompt_2=texts[1], prompt_3=texts[2], empty="none"), stock)


def test_a_blank_prompt_is_an_empty_text_of_its_own(comfy_host: Any, clips: dict[str, Any]) -> None:
    stock = run(comfy_host, "CLIPTextEncodeFlux", clip=clips["flux"], clip_l=PLAIN, t5xxl="", guidance=1.0)
    ours = encode(comfy_host, clips["flux"], PLAIN, prompt_2=" ")
    same(run(comfy_host, "FluxGuidance", conditioning=ours, guidance=1.0), stock)


def test_sdxl_adds_only_size_ids_to_clip_text_encode(comfy_host: Any, clips: dict[str, Any]) -> None:
    for text in (WEIGHTED, LONG, ""):
        (ours,), (stock,) = (
            encode(comfy_host, clips["sdxl"], text),
            run(comfy_host, "CLIPTextEncode", clip=clips["sdxl"], text=text),
        )
        assert torch.equal(ours[0], stock[0])
        assert torch.equal(ours[1].pop("pooled_output"), stock[1]["pooled_output"])
        size = {"width": 1024, "height": 1024, "target_width": 1024, "target_height": 1024}
        assert ours[1] == {**size, "crop_w": 0, "crop_h": 0}


@pytest.mark.parametrize("length", [77, 154, 256, 512])
def test_t5_length_equals_the_stock_option(comfy_host: Any, clips: dict[str, Any], length: int) -> None:
    """T5TokenizerOptions pads and does not cut, so it agrees for prompts that are short enough."""
    for family in ("flux", "sd35"):
        clip = run(comfy_host, "T5TokenizerOptions", clip=clips[family], min_padding=0, min_length=length)
        stock = run(comfy_host, "CLIPTextEncode", clip=clip, text=WEIGHTED)
        same(encode(comfy_host, clips[family], WEIGHTED, t5_length=length), stock)
        same(encode(comfy_host, clip, WEIGHTED), stock)


def test_zeros_for_the_empty_prompt(comfy_host: Any, clips: dict[str, Any]) -> None:
    for family in ("sdxl", "flux", "sd35"):
        encoded = encode(comfy_host, clips[family], "")
        same(
            encode(comfy_host, clips[family], "", empty="zeros"),
            run(comfy_host, "ConditioningZeroOut", conditioning=encoded),
        )
        assert encoded[0][0].abs().max() > 0
        same(encode(comfy_host, clips[family], PLAIN, empty="zeros"), encode(comfy_host, clips[family], PLAIN))


def test_clip_skip_is_kept(comfy_host: Any, clips: dict[str, Any]) -> None:
    skipped = run(comfy_host, "CLIPSetLastLayer", clip=clips["sdxl"], stop_at_clip_layer=-3)
    size = {"width": 64, "height": 64, "crop_w": 0, "crop_h": 0, "target_width": 64, "target_height": 64}
    stock = run(comfy_host, "CLIPTextEncodeSDXL", clip=skipped, text_l=PLAIN, text_g=PLAIN, **size)
    same(encode(comfy_host, skipped, PLAIN, weighting=False, width=64, height=64), stock)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: str(family.id))
def test_a_field_that_the_canvas_hides_changes_nothing_or_is_refused(
    comfy_host: Any, clips: dict[str, Any], family: Family
) -> None:
    other = {
        "prompt_2": "another", "prompt_3": "another", "width": 64, "height": 64, "t5_length": 300, "missing": "zeros",
        "long_prompt": "truncate", "text_rules": "kohya", "t5_padding": "one",
    }  # fmt: skip
    clip = chroma_clip() if family.id == "chroma" else clips[family.id]
    plain = encode(comfy_host, clip, LONG, weighting=False)
    for name in unused_fields(family):
        try:
            changed = encode(comfy_host, clip, LONG, weighting=False, **{name: other[name]})
        except ValueError as error:
            changed = str(error)
        if isinstance(changed, str):
            assert name in changed
        else:
            same(changed, plain)


def test_refusals(comfy_host: Any, clips: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"clip is empty.*DualCLIPLoader"):
        encode(comfy_host, None, PLAIN)
    with pytest.raises(ValueError, match="prompt_3 holds a text, but this CLIP has only CLIP-L and T5"):
        encode(comfy_host, clips["flux"], PLAIN, prompt_3="lost")
    with pytest.raises(ValueError, match="prompt_2 holds a text, but this CLIP has only CLIP-L"):
        encode(comfy_host, clips["sd1"], PLAIN, prompt_2="lost")
    with pytest.raises(ValueError, match=r"SD 3\.5 only; this CLIP has CLIP-L and CLIP-G.*encode"):
        encode(comfy_host, clips["sdxl"], "", empty="none")
    same(encode(comfy_host, clips["flux"], PLAIN, prompt_3=PLAIN), encode(comfy_host, clips["flux"], PLAIN))

    class Other:
        tokenizer = clips["sd1"].tokenizer

        def clone(self) -> Other:
            return Other()

        def tokenize(self, text: str, **_: Any) -> dict[str, Any]:
            return {"gemma": [[(1, 1.0)]]}

    with pytest.raises(ValueError, match=r"gemma.*stock text-encode"):
        encode(comfy_host, Other(), PLAIN)
