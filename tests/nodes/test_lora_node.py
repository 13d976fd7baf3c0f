"""EriLoraAtStep: files written by hand here, merged by the host, compared with deltas computed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models

RANK, ALPHA = 4, 8.0
MODULE = "joint_blocks.0.x_block.attn.qkv"  # EriDiffusion V2's name; the host's is diffusion_model. + the same
CLIP_MODULE = "clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj"


def pair(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(RANK, columns, generator=generator), torch.randn(rows, RANK, generator=generator)


def write(path: Path, seed: int, module: str = MODULE, with_clip: bool = False, width: int = 128) -> Tensor:
    """An EriDiffusion V2 full save with one pair (and one of CLIP-L); returns the expected change of the weight."""
    down, up = pair(3 * width, width, seed)
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    if with_clip:
        clip_down, clip_up = pair(small_models.CONTEXT, small_models.CONTEXT, seed + 100)
        tensors[f"text_encoders.{CLIP_MODULE}.lora_A.weight"] = clip_down
        tensors[f"text_encoders.{CLIP_MODULE}.lora_B.weight"] = clip_up
    header = {"format_version": 1, "trainer": "train_sd35", "step": seed, "rank": RANK, "alpha": ALPHA}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"__eridiffusion_ckpt__": json.dumps(header)})
    return (ALPHA / RANK) * (up @ down)


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    import folder_paths

    root = tmp_path / "loras"
    root.mkdir()
    paths, extensions = folder_paths.folder_names_and_paths["loras"]
    folder_paths.folder_names_and_paths["loras"] = ([str(root)], extensions)
    folder_paths.filename_list_cache.pop("loras", None)
    yield root
    folder_paths.folder_names_and_paths["loras"] = (paths, extensions)
    folder_paths.filename_list_cache.pop("loras", None)


def apply(comfy_host: Any, run: str, step: int = 500, mode: str = "exact", **changes: Any) -> Any:
    values = {"strength_model": 1.0, "strength_clip": 1.0, "clip": None, "apply": "into the weights", **changes}
    if "model" not in values:
        values["model"] = small_models.sd35_model()
    return comfy_host.nodes["EriLoraAtStep"].execute(run=run, step=step, mode=mode, **values).args


def patched(target: Any, key: str) -> tuple[Tensor, Tensor]:
    """A weight before and after the host loads a MODEL's or CLIP's patcher, and the model put back afterwards."""
    before = target.model.state_dict()[key].clone()
    target.patch_model()
    after = target.model.state_dict()[key].clone()
    target.unpatch_model()
    assert torch.equal(target.model.state_dict()[key], before)
    return before, after


def test_the_step_is_applied_at_its_strength(comfy_host: Any, loras: Path) -> None:
    changes = {step: write(loras / "run" / f"sd35_lora_step{step}.safetensors", step) for step in (250, 500)}
    write(loras / "run" / "sd35_lora_1000steps.safetensors", 1000)
    model = small_models.sd35_model()
    key = f"diffusion_model.{MODULE}.weight"
    for step, strength in ((250, 1.0), (500, 0.5)):
        result, _, found, report, _ = apply(comfy_host, "run", step, model=model, strength_model=strength)
        before, after = patched(result, key)
        assert found == step
        assert torch.allclose(after, before + strength * changes[step], atol=1e-5)
        assert "1 of" in report or "2 of" in report
        assert model.patches == {}
    assert apply(comfy_host, "run", 700, "nearest")[2] == 500
    assert apply(comfy_host, "run", 999, "at_or_before")[2] == 500
    assert apply(comfy_host, "run", 0, "latest")[2] == 1000
    assert apply(comfy_host, "run/sd35_lora_step250.safetensors", 7)[2] == 250


def test_text_encoders_too(comfy_host: Any, loras: Path) -> None:
    write(loras / "run" / "sd35_lora_step500.safetensors", 500, with_clip=True)
    clip = small_models.sd35_clip(t5=False)
    _, new_clip, _, report, _ = apply(comfy_host, "run", clip=clip, strength_clip=0.25)
    down, up = pair(small_models.CONTEXT, small_models.CONTEXT, 600)
    before, after = patched(new_clip.patcher, f"{CLIP_MODULE}.weight")
    assert torch.allclose(after, before + 0.25 * (ALPHA / RANK) * (up @ down), atol=1e-5)
    assert clip.patcher.patches == {}
    assert "clip_l" in report
    without = apply(comfy_host, "run")[3]
    assert "no CLIP is connected" in without


def test_step_zero_is_the_model_itself(comfy_host: Any, loras: Path) -> None:
    write(loras / "run" / "sd35_lora_step500.safetensors", 500)
    model = small_models.sd35_model()
    result = apply(comfy_host, "run", 0, model=model)
    assert result[0] is model
    assert result[2] == 0
    assert "no LoRA" in result[3]


def test_nothing_matched_names_file_and_keys(comfy_host: Any, loras: Path) -> None:
    write(loras / "run" / "sd35_lora_step500.safetensors", 500, module="joint_blocks.37.x_block.attn.qkv")
    with pytest.raises(comfy_host.pack("lora").LoraError, match=r"sd35_lora_step500.*joint_blocks\.37"):
        apply(comfy_host, "run")


def test_wrong_family_is_refused(comfy_host: Any, loras: Path) -> None:
    write(loras / "run" / "sd35_lora_step500.safetensors", 500)
    with pytest.raises(comfy_host.pack("lora").LoraError, match="sd35_lora_step500"):
        apply(comfy_host, "run", model=small_models.flux_model())


def test_missing_steps_and_runs_say_what_is_there(comfy_host: Any, loras: Path) -> None:
    write(loras / "run" / "sd35_lora_step500.safetensors", 500)
    error = comfy_host.pack("lora").LoraError
    with pytest.raises(error, match="500"):
        apply(comfy_host, "run", 333)
    with pytest.raises(error, match="other"):
        apply(comfy_host, "other")
    validate = comfy_host.nodes["EriLoraAtStep"].validate_inputs
    assert validate(run="run", step=500, mode="exact") is True
    assert "500" in validate(run="run", step=333, mode="exact")
    assert validate(run="run", step=None, mode="exact") is True


@pytest.mark.parametrize("run", ["../outside", "/etc", "run/../../outside", "", "run\x00"])
def test_nothing_outside_the_loras_folders_is_read(comfy_host: Any, loras: Path, run: str) -> None:
    write(loras.parent / "outside" / "sd35_lora_step500.safetensors", 500)
    write(loras / "run" / "sd35_lora_step500.safetensors", 500)
    with pytest.raises(ValueError, match=r"outside the folders|run is empty|NUL"):
        apply(comfy_host, run)
    assert apply(comfy_host, str(loras / "run"))[2] == 500


def test_fingerprint_follows_the_chosen_file(comfy_host: Any, loras: Path) -> None:
    path = loras / "run" / "sd35_lora_step500.safetensors"
    write(path, 500)
    fingerprint = comfy_host.nodes["EriLoraAtStep"].fingerprint_inputs
    chosen = {"run": "run", "step": 500, "mode": "exact", "strength_model": 1.0}
    first = fingerprint(**chosen)
    assert fingerprint(**chosen) == first
    latest = fingerprint(**{**chosen, "mode": "latest"})
    write(loras / "run" / "sd35_lora_step750.safetensors", 750)
    assert fingerprint(**chosen) == first
    assert fingerprint(**{**chosen, "mode": "latest"}) != latest
    write(path, 500, with_clip=True)
    assert fingerprint(**chosen) != first
    assert fingerprint(**{**chosen, "step": 9}) != first
    assert fingerprint(**{**chosen, "step": None}) == ""


def test_runs_are_offered(comfy_host: Any, loras: Path) -> None:
    write(loras / "b" / "deep" / "sd35_lora_step500.safetensors", 500)
    write(loras / "single.safetensors", 1)
    schema = comfy_host.nodes["EriLoraAtStep"].define_schema()
    options = next(entry.options for entry in schema.inputs if entry.id == "run")
    assert options == ["b/deep", "b/deep/sd35_lora_step500.safetensors", "single.safetensors"]
    for step in (1, 2):  # a run whose steps are folders is one entry, as well as each of its files
        write(loras / "st" / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors", step)
    schema = comfy_host.nodes["EriLoraAtStep"].define_schema()
    options = next(entry.options for entry in schema.inputs if entry.id == "run")
    assert options[:2] == ["b/deep", "st"]
    assert apply(comfy_host, "st", 2)[2] == 2


def test_alternating_steps_do_not_drift(comfy_host: Any, loras: Path) -> None:
    changes = {step: write(loras / "run" / f"sd35_lora_step{step}.safetensors", step) for step in (1, 2)}
    model, key = small_models.sd35_model(), f"diffusion_model.{MODULE}.weight"
    base = model.model.state_dict()[key].clone()
    for turn in range(20):
        step = 1 + turn % 2
        before, after = patched(apply(comfy_host, "run", step, model=model)[0], key)
        assert torch.equal(before, base)
        assert torch.allclose(after, base + changes[step], atol=1e-5)
