"""Averaged weights (EMA) beside a run's checkpoints, as SimpleTuner keeps them, are found as `<run>/ema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui_eridiffusion.errors import LoraError
from comfyui_eridiffusion.lora import find_checkpoints, select_checkpoint
from comfyui_eridiffusion.tests.lora.lora_files import write


def run_folder(folder: Path, averaged: dict[int, str]) -> Path:
    """bghira/SimpleTuner@bc8e6ab save_hooks.py: pytorch_lora_weights.safetensors, of LyCORIS ema_model.safetensors."""
    import torch

    pair = {
        f"transformer.single_transformer_blocks.0.attn.to_q.lora_{letter}.weight": torch.zeros(shape)
        for letter, shape in (("A", (4, 64)), ("B", (64, 4)))
    }
    for step in (100, 200, 300):
        place = folder / "my_run" / f"checkpoint-{step}"
        (place / "ema").mkdir(parents=True)
        write(place / "pytorch_lora_weights.safetensors", pair)
        (place / "training_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
        if step in averaged:
            write(place / "ema" / averaged[step], pair)
    return folder / "my_run"


def test_by_step(tmp_path: Path) -> None:
    run = run_folder(tmp_path, {100: "pytorch_lora_weights.safetensors", 200: "ema_model.safetensors"})
    found = find_checkpoints(run / "ema")
    assert [(entry.step, entry.path.parent.name) for entry in found] == [(100, "ema"), (200, "ema")]
    assert select_checkpoint(found, 200).path == run / "checkpoint-200" / "ema" / "ema_model.safetensors"
    assert {entry.path.parent.name for entry in find_checkpoints(run)} == {
        "checkpoint-100",
        "checkpoint-200",
        "checkpoint-300",
    }
    with pytest.raises(LoraError, match="no checkpoint of step 300"):
        select_checkpoint(found, 300)


def test_a_run_without_them_says_so(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="averaged weights"):
        find_checkpoints(run_folder(tmp_path, {}) / "ema")
