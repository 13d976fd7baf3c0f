"""What a CLIP has encoded is remembered: a new training step that leaves the text encoders alone asks them nothing."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import folders, graph, run  # noqa: F401
from comfyui_eridiffusion.tests.nodes.test_lora_node import write

TEXT = {
    "t5_length": 0,
    "weighting": False,
    "empty": "encode",
    "prompt_2": "",
    "prompt_3": "",
    "width": 64,
    "height": 64,
}


@pytest.fixture
def asked(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The CLIPs that were asked to encode something, in order."""
    import comfy.sd

    calls: list[Any] = []
    encode = comfy.sd.CLIP.encode_from_tokens_scheduled
    monkeypatch.setattr(
        comfy.sd.CLIP,
        "encode_from_tokens_scheduled",
        lambda self, *args, **kwargs: (calls.append(self), encode(self, *args, **kwargs))[1],
    )
    return calls


def encoded(comfy_host: Any, clip: Any, prompt: str, **changes: Any) -> list[list[Any]]:
    found: list[list[Any]] = outputs(comfy_host, "EriTripleTextEncode", clip=clip, prompt=prompt, **TEXT | changes)[0]
    return found


@pytest.mark.parametrize(("with_clip", "times"), [(False, 1), (True, 2)])
def test_a_new_step_asks_the_encoders_only_where_they_change(
    comfy_host: Any,
    folders: Path,  # noqa: F811
    asked: list[Any],
    with_clip: bool,
    times: int,
) -> None:
    for step in (250, 500):
        write(folders / "loras" / "run" / f"sd35_lora_step{step}.safetensors", step, with_clip=with_clip)
    executor = run(graph("sd35", run="run", step=250, mode="exact"))
    once = len(asked)
    assert once == 4, "two prompts and two negatives"
    run(graph("sd35", run="run", step=500, mode="exact"), executor)
    assert len(asked) == times * once


def test_the_same_numbers_come_back_and_changes_do_not(comfy_host: Any, asked: list[Any]) -> None:
    clip = small_models.sdxl_clip().clone()
    first = encoded(comfy_host, clip, "a red circle")
    first[0][1]["changed"] = True
    again = encoded(comfy_host, clip, "a red circle")
    assert len(asked) == 1
    assert "changed" not in again[0][1]
    fresh = encoded(comfy_host, small_models.sdxl_clip().clone(), "a red circle")
    assert len(asked) == 2
    assert torch.equal(again[0][0], fresh[0][0])
    assert torch.equal(again[0][1]["pooled_output"], fresh[0][1]["pooled_output"])


def patched(clip: Any) -> None:
    key = next(key for key in clip.patcher.model.state_dict() if key.endswith("fc1.weight"))
    clip.patcher.add_patches({key: (torch.ones_like(clip.patcher.model.state_dict()[key]),)})


CHANGES: dict[str, Callable[[Any], None]] = {
    "patches": patched,
    "layer": lambda clip: clip.clip_layer(-2),
    "tokenizer": lambda clip: clip.set_tokenizer_option("t5xxl_min_padding", 80),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_clip_changed_in_place_is_asked_again(comfy_host: Any, asked: list[Any], change: str) -> None:
    clip = small_models.sdxl_clip().clone()
    encoded(comfy_host, clip, "a red circle")
    CHANGES[change](clip)
    encoded(comfy_host, clip, "a red circle")
    assert len(asked) == 2


def test_other_texts_settings_and_embedding_files_are_asked(comfy_host: Any, asked: list[Any]) -> None:
    clip = small_models.sdxl_clip().clone()
    for changes in ({}, {"prompt_2": "blue"}, {"width": 128}, {"weighting": True}):
        encoded(comfy_host, clip, "a red circle", **changes)
    assert len(asked) == 4
    for _ in range(2):
        encoded(comfy_host, clip, "embedding:style", weighting=True)
    assert len(asked) == 6


def test_hooked_clips_are_asked(comfy_host: Any, asked: list[Any]) -> None:
    import comfy.hooks

    clip = small_models.sdxl_clip().clone()
    clip.apply_hooks_to_conds = comfy.hooks.HookGroup()
    clip.apply_hooks_to_conds.add(comfy.hooks.WeightHook())
    for _ in range(2):
        encoded(comfy_host, clip, "a red circle")
    assert len(asked) == 2


def test_no_more_than_the_limit_and_not_longer_than_the_clip(
    comfy_host: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = comfy_host.pack("host.text.memory")
    clip = small_models.sdxl_clip().clone()
    ((cond, extra),) = encoded(comfy_host, clip, "one")
    monkeypatch.setattr(memory, "LIMIT_BYTES", 2 * (cond.nbytes + extra["pooled_output"].nbytes))
    for prompt in ("two", "one", "three", "one", "two"):
        encoded(comfy_host, clip, prompt)
    assert len(asked) == 4, "two was forgotten for three, and one was used in between"
    held = len(memory._KEPT)
    asked.clear()
    del clip
    gc.collect()
    assert len(memory._KEPT) < held
