"""Merged into text encoders, from step to step: the same weights as the stock loader makes, the base untouched."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, same, write_text_kohya

CLIPS = {"flux": small_models.flux_clip, "sd35": small_models.sd35_clip, "sdxl": small_models.sdxl_clip}
MODELS = {"flux": small_models.flux_model, "sd35": small_models.sd35_model, "sdxl": small_models.sdxl_model}


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


def write_steps(loras: Path, clip: Any, *steps: int) -> None:
    for step in steps:
        write_text_kohya(loras / "run" / f"a-step{step:08d}.safetensors", clip, step)


def at_step(comfy_host: Any, model: Any, clip: Any, step: int, **inputs: Any) -> Any:
    chosen = {"run": "run", "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    chosen |= {"apply": "into the weights", **inputs}
    return comfy_host.nodes["EriLoraAtStep"].execute(model=model, clip=clip, **chosen).args[1]


def stock(clip: Any, step: int, strength: float = 1.0) -> Any:
    import nodes

    return nodes.LoraLoader().load_lora(None, clip, f"run/a-step{step:08d}.safetensors", 0.0, strength)[1]


def encode(clip: Any) -> Tensor:
    """What the stock CLIPTextEncode makes of a prompt."""
    import nodes

    return nodes.CLIPTextEncode().encode(clip, "a red circle")[0][0][0]


def weights(clip: Any) -> dict[str, Tensor]:
    state = clip.cond_stage_model.state_dict()
    return {name: value.clone() for name, value in state.items() if "embed" not in name and "shared" not in name}


@pytest.mark.parametrize("family", CLIPS)
def test_encoders_equal_the_stock_loaders_bit_for_bit(comfy_host: Any, loras: Path, family: str) -> None:
    """Steps in a row, against the stock LoraLoader on a CLIP of its own: weights and what they encode."""
    clip, other, model = CLIPS[family](), CLIPS[family](), MODELS[family]()
    base = weights(clip)
    write_steps(loras, clip, 1, 2, 3)
    for step, strength in ((1, 1.0), (2, 1.0), (3, -0.4), (1, 1.0)):
        found = encode(at_step(comfy_host, model, clip, step, strength_clip=strength))
        assert torch.equal(found, encode(stock(other, step, strength)))
        patched = weights(clip)
        assert same(patched, weights(other))
        assert not same(patched, base)
    encode(clip)
    assert same(weights(clip), base)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_narrow_encoders_are_rounded_as_the_host_rounds_them(
    comfy_host: Any, loras: Path, dtype: torch.dtype
) -> None:
    clip, other, model = small_models.sdxl_clip(), small_models.sdxl_clip(), small_models.sdxl_model()
    write_steps(loras, clip, 1, 2, 3)
    for one in (clip, other):
        one.cond_stage_model.to(dtype)
    base = weights(clip)
    for step in (1, 2, 3):
        at_step(comfy_host, model, clip, step).load_model()
        stock(other, step).load_model()
        assert same(weights(clip), weights(other))
    clip.load_model()
    assert same(weights(clip), base)


def test_base_encoders_come_back_when_encoding_fails(
    comfy_host: Any, loras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, model = small_models.sdxl_clip(), small_models.sdxl_model()
    base = weights(clip)
    write_steps(loras, clip, 1, 2)
    first, second = (at_step(comfy_host, model, clip, step) for step in (1, 2))
    encode(first)
    with monkeypatch.context() as patch:
        patch.setattr(clip.cond_stage_model.clip_g, "encode_token_weights", None)
        with pytest.raises(TypeError):
            encode(second)
    encode(clip)
    assert same(weights(clip), base)


def test_no_patcher_is_kept_alive(comfy_host: Any, loras: Path) -> None:
    clip, model = small_models.sdxl_clip(), small_models.sdxl_model()
    write_steps(loras, clip, 1, 2, 3)
    left = []
    for step in (1, 2, 3):
        patched = at_step(comfy_host, model, clip, step)
        patched.load_model()
        left += [weakref.ref(patched.patcher), weakref.ref(next(iter(patched.patcher.patches.values()))[0][1])]
        del patched
    gc.collect()
    assert [ref() for ref in left] == [None] * len(left)


def test_hooks_of_the_host_lie_on_top(comfy_host: Any, loras: Path) -> None:
    """A scheduled hook LoRA on merged encoders, steps in a row: as on the stock loader's."""
    clip, other, model = small_models.sdxl_clip(), small_models.sdxl_clip(), small_models.sdxl_model()
    base = weights(clip)
    write_steps(loras, clip, 1, 2, 3)

    def run(node: str, **inputs: Any) -> Any:
        made = comfy_host.nodes[node]()
        return getattr(made, made.FUNCTION)(**inputs)[0]

    def scheduled(one: Any) -> list[Tensor]:
        name = "run/a-step00000003.safetensors"
        hooks = run("CreateHookLora", lora_name=name, strength_model=1.0, strength_clip=0.5)
        frames = run("CreateHookKeyframe", strength_mult=1.0, start_percent=0.4)
        hooks = run("SetHookKeyframes", hooks=hooks, hook_kf=frames)
        hooked = run("SetClipHooks", clip=one, apply_to_conds=True, schedule_clip=True, hooks=hooks)
        return [cond for cond, _ in run("CLIPTextEncode", clip=hooked, text="a red circle")]

    for step in (1, 2, 1):
        ours, theirs = at_step(comfy_host, model, clip, step), stock(other, step)
        plain = [encode(ours), encode(theirs)]
        assert torch.equal(*plain)
        found, expected = scheduled(ours), scheduled(theirs)
        assert len(found) == len(expected) == 2
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert not torch.equal(found[1], plain[0])
        assert torch.equal(encode(ours), plain[0])
    encode(clip)
    assert same(weights(clip), base)
