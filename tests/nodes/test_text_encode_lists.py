"""EriTripleTextEncode with lists, through the host's own validation and executor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.cache_graphs import Keep
from comfyui_eridiffusion.tests.nodes.host_calls import failure, run
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import node

TEXT = {
    "prompt_2": "",
    "prompt_3": "",
    "t5_length": 0,
    "weighting": False,
    "empty": "encode",
    "width": 64,
    "height": 64,
}


class LoadText:
    """CLIP of one encoder, in the host's older node form."""

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"seed": ("INT", {"default": 0})}}

    def load(self, seed: int) -> tuple[Any]:
        return (small_models.sd1_clip(seed),)


class Listed:
    """A list of texts, one a line; none for an empty text."""

    RETURN_TYPES = ("STRING",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "split"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"lines": ("STRING", {"default": ""})}}

    def split(self, lines: str) -> tuple[list[str]]:
        return (lines.splitlines(),)


@pytest.fixture
def kept(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    import nodes

    for kind in (LoadText, Listed, Keep):
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, kind.__name__, kind)
    monkeypatch.setattr(Keep, "kept", [])
    return Keep.kept


def graph(lines: str, second: str | None = None) -> dict[str, Any]:
    result = {
        "clip": node("LoadText", seed=0),
        "prompts": node("Listed", lines=lines),
        "encode": node(
            "EriTripleTextEncode", **{**TEXT, "width": 64, "height": 64, "clip": ["clip", 0], "prompt": ["prompts", 0]}
        ),
        "keep": node("Keep", conditioning=["encode", 0]),
    }
    if second is not None:
        result["second"] = node("Listed", lines=second)
        result["encode"]["inputs"]["prompt_2"] = ["second", 0]
    return result


def test_each_prompt_as_the_stock_node_encodes_it(comfy_host: Any, kept: list[Any]) -> None:
    lines = ["a red circle", "a blue star", "a red circle", "green grass"]
    assert run(graph("\n".join(lines))).success
    clip = small_models.sd1_clip(0)
    expected = [comfy_host.nodes["CLIPTextEncode"]().encode(clip, line)[0] for line in lines]
    assert len(kept) == len(lines)
    for ours, theirs in zip(kept, expected, strict=True):
        assert torch.equal(ours[0][0], theirs[0][0])
        assert torch.equal(ours[0][1]["pooled_output"], theirs[0][1]["pooled_output"])


def test_equal_prompts_are_encoded_once(comfy_host: Any, kept: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.sd

    calls: list[Any] = []
    encode = comfy.sd.CLIP.encode_from_tokens_scheduled
    monkeypatch.setattr(
        comfy.sd.CLIP, "encode_from_tokens_scheduled", lambda self, *a, **k: (calls.append(a), encode(self, *a, **k))[1]
    )
    assert run(graph("same\nsame\nother\nsame")).success
    assert len(calls) == 2
    assert len(kept) == 4


def test_an_empty_list_says_which(comfy_host: Any, kept: list[Any]) -> None:
    error = failure(run(graph("")))
    assert error["node_id"] == "encode"
    assert "prompt is an empty list" in error["exception_message"]
    assert not kept


def test_lists_that_do_not_fit_say_which(comfy_host: Any, kept: list[Any]) -> None:
    error = failure(run(graph("one\ntwo\nthree", second="a\nb")))
    assert error["node_id"] == "encode"
    assert "prompt_2 has 2 entries, prompt has 3" in error["exception_message"]
    assert not kept
