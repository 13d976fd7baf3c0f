"""The runs that the nodes' lists offer, told from file names as each trainer leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.lora import find_checkpoints
from comfyui_eridiffusion.lora.file_names import run_names
from comfyui_eridiffusion.tests.lora.run_folders import lay

# Files below a loras folder; what may be chosen as a run, with the steps that it must give.
LAYOUTS: dict[str, tuple[list[str], dict[str, list[int | None]]]] = {
    "EriDiffusion V2": (
        ["flux/flux_lora_step10.safetensors", "flux/flux_lora_20steps.safetensors"], {"flux": [10, 20]}
    ),
    "EriDiffusion V2, its default folder": (
        ["output/flux_lora_step10.safetensors", "output/sd35_lora_step10.safetensors",
         "output/sd35_lora_step20.safetensors"],
        {"output/flux_lora": [10], "output/sd35_lora": [10, 20]},
    ),
    "EriDiffusion V1": (
        ["v1/step_000100/lora.safetensors", "v1/step_000100/ema.safetensors", "v1/step_000200/lora.safetensors",
         "w/checkpoint-5/flux_lora.safetensors", "sdxl/checkpoint-7.safetensors"],
        {"v1": [100, 200], "w": [5], "sdxl": [7]},
    ),
    "ai-toolkit": (["out/cat/cat_000000250.safetensors", "out/cat/cat.safetensors"], {"out/cat": [250, None]}),
    "sd-scripts": (
        ["k/cat-step00000100.safetensors", "k/cat.safetensors", "k/dog-step00000200.safetensors"],
        {"k/cat": [100, None], "k/dog": [200]},
    ),
    "sd-scripts beside other files": (
        ["cat-step00000100.safetensors", "cat-step00000200.safetensors", "style.safetensors"], {"cat": [100, 200]}
    ),
    "SimpleTuner": (
        ["st/checkpoint-100/pytorch_lora_weights.safetensors", "st/checkpoint-100/ema/pytorch_lora_weights.safetensors",
         "st/checkpoint-200-rolling/pytorch_lora_weights.safetensors",
         "st/checkpoint-300-tmp/pytorch_lora_weights.safetensors", "st/pytorch_lora_weights.safetensors"],
        {"st": [100, 200, None]},
    ),
    "PEFT": (["p/q/checkpoint-5/adapter_model.safetensors"], {"p/q": [5]}),
    "OneTrainer": (
        ["ot/save/cat2024-05-01_10-00-00-save-200-2-0.safetensors",
         "ob/backup/2024-05-01_10-00-00-backup-300-3-0/lora/lora.safetensors"],
        {"ot": [200], "ob": [300]},
    ),
    "a step folder on its own": (["checkpoint-9/flux_lora.safetensors"], {"checkpoint-9": [9]}),
}  # fmt: skip


@pytest.mark.parametrize("trainer", LAYOUTS)
def test_every_run_is_offered_under_the_name_that_finds_it(tmp_path: Path, trainer: str) -> None:
    files, runs = LAYOUTS[trainer]
    lay(tmp_path, files)
    offered = run_names(files)
    for run, steps in runs.items():
        assert run in offered
        assert [entry.step for entry in find_checkpoints(tmp_path / run)] == steps
    assert not any("checkpoint-" in run or "step_" in run for run in offered if run not in runs)
    for run in offered:  # the folder of several runs too, whose entries then tell them apart
        found = find_checkpoints(tmp_path / run)
        assert found
        assert run in runs or len({entry.run for entry in found}) > 1


def test_nothing_and_single_files() -> None:
    assert run_names([]) == []
    assert run_names(["style.safetensors", "people/anna.safetensors", "other-240501.safetensors"]) == ["people"]
