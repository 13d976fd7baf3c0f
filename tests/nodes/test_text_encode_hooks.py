"""EriTripleTextEncode on CLIPs with hooks (LoRAs on part of the schedule), beside the host's own text-encode nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.test_text_encode import PLAIN, WEIGHTED, encode, run, same

RANK = 4
CLIP_LAYER = "transformer.text_model.encoder.layers.0.self_attn.q_proj"
T5_LAYER = "transformer.encoder.block.0.layer.0.SelfAttention.q"
SIZE = {"width": 1024, "height": 1024, "crop_w": 0, "crop_h": 0, "target_width": 1024, "target_height": 1024}


def write_lora(path: Path, clip: Any, seed: int = 7) -> None:
    """A LoRA under the host's general names, one strong pair on every text encoder of `clip`."""
    generator = torch.Generator().manual_seed(seed)
    weights = clip.cond_stage_model.state_dict()
    tensors = {}
    for name in [
        key.removesuffix(".weight") for key in weights if key.endswith((f"{CLIP_LAYER}.weight", f"{T5_LAYER}.weight"))
    ]:
        height, width = weights[f"{name}.weight"].shape
        tensors[f"text_encoders.{name}.lora_down.weight"] = torch.randn(RANK, width, generator=generator)
        tensors[f"text_encoders.{name}.lora_up.weight"] = torch.randn(height, RANK, generator=generator)
    assert tensors
    save_file(tensors, path)


@pytest.fixture
def lora_folder(comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import folder_paths

    extensions = folder_paths.folder_names_and_paths["loras"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], extensions))
    return tmp_path


def hooked(comfy_host: Any, clip: Any, folder: Path, *, schedule: bool, to_conds: bool = True) -> Any:
    """CLIP with a hook LoRA at 0.3 of its strength, from 40 % on at 1, through the host's own nodes."""
    write_lora(folder / "hook.safetensors", clip)
    hooks = run(comfy_host, "CreateHookLora", lora_name="hook.safetensors", strength_model=1.0, strength_clip=1.0)
    frames = run(comfy_host, "CreateHookKeyframe", strength_mult=0.3, start_percent=0.0)
    frames = run(comfy_host, "CreateHookKeyframe", strength_mult=1.0, start_percent=0.4, prev_hook_kf=frames)
    hooks = run(comfy_host, "SetHookKeyframes", hooks=hooks, hook_kf=frames)
    return run(comfy_host, "SetClipHooks", clip=clip, apply_to_conds=to_conds, schedule_clip=schedule, hooks=hooks)


def stock(comfy_host: Any, family: str, clip: Any, text: str) -> Any:
    if family == "sdxl":
        return run(comfy_host, "CLIPTextEncodeSDXL", clip=clip, text_l=text, text_g=text, **SIZE)
    if family == "sd35":
        texts = {"clip_l": text, "clip_g": text, "t5xxl": text}
        return run(comfy_host, "CLIPTextEncodeSD3", clip=clip, empty_padding="none", **texts)
    if family == "flux":
        plain = run(comfy_host, "CLIPTextEncodeFlux", clip=clip, clip_l=text, t5xxl=text, guidance=3.5)
        for _, extra in plain:
            del extra["guidance"]
        return plain
    return run(comfy_host, "CLIPTextEncode", clip=clip, text=text)


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl", "sd1"])
@pytest.mark.parametrize("schedule", [False, True])
def test_equals_the_stock_node_on_a_hooked_clip(
    comfy_host: Any, lora_folder: Path, family: str, schedule: bool
) -> None:
    clip = getattr(small_models, f"{family}_clip")()
    base = stock(comfy_host, family, clip, PLAIN)
    weights = {key: value.clone() for key, value in clip.cond_stage_model.state_dict().items() if CLIP_LAYER in key}
    changed = hooked(comfy_host, clip, lora_folder, schedule=schedule)
    expected = stock(comfy_host, family, changed, WEIGHTED)
    assert [extra.get("clip_start_percent") for _, extra in expected] == ([0.0, 0.4] if schedule else [None])
    assert all("hooks" in extra for _, extra in expected)
    same(encode(comfy_host, changed, WEIGHTED), expected)
    literal = encode(comfy_host, changed, PLAIN, weighting=False)
    same(literal, stock(comfy_host, family, changed, PLAIN))
    assert not torch.equal(literal[-1][0], base[0][0])
    if schedule:
        assert not torch.equal(literal[0][0], literal[1][0])
    # the CLIP that was given keeps its weights, and encodes as before
    same(encode(comfy_host, clip, PLAIN, weighting=False), base)
    for key, value in clip.cond_stage_model.state_dict().items():
        assert CLIP_LAYER not in key or torch.equal(value, weights[key])


def test_hooks_kept_off_the_conditioning_stay_off(comfy_host: Any, lora_folder: Path) -> None:
    clip = hooked(comfy_host, small_models.sd1_clip(), lora_folder, schedule=True, to_conds=False)
    result = encode(comfy_host, clip, PLAIN, weighting=False)
    same(result, run(comfy_host, "CLIPTextEncode", clip=clip, text=PLAIN))
    assert not any("hooks" in extra for _, extra in result)


def test_zeros_keep_the_schedule(comfy_host: Any, lora_folder: Path) -> None:
    clip = hooked(comfy_host, small_models.sdxl_clip(), lora_folder, schedule=True)
    expected = run(comfy_host, "ConditioningZeroOut", conditioning=encode(comfy_host, clip, ""))
    same(encode(comfy_host, clip, "", empty="zeros"), expected)
    assert len(expected) == 2
