"""Run folders as the trainers leave them, several runs at once, and lists of steps for sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from comfyui_eridiffusion.lora import Checkpoint, LoraError, find_checkpoints, select_checkpoint, select_steps
from comfyui_eridiffusion.lora.step_lists import known_steps
from comfyui_eridiffusion.tests.lora.run_folders import lay, lora


def steps(run: Path) -> list[int | None]:
    return [entry.step for entry in find_checkpoints(run)]


def test_simpletuner_run(tmp_path: Path) -> None:
    """A rolling state counts where no numbered one is there; EMA, validation images and unfinished folders do not."""
    lay(tmp_path, [
        "checkpoint-100/pytorch_lora_weights.safetensors", "checkpoint-100/ema/pytorch_lora_weights.safetensors",
        "checkpoint-100/optimizer.bin", "checkpoint-100/random_states_0.pkl",
        "checkpoint-200/pytorch_lora_weights.safetensors", "checkpoint-200-rolling/pytorch_lora_weights.safetensors",
        "checkpoint-250-rolling/pytorch_lora_weights.safetensors",
        "checkpoint-275-best/pytorch_lora_weights.safetensors", "checkpoint-300-tmp/pytorch_lora_weights.safetensors",
        "validation_images/step_100_a_0_512x512.png",
    ])  # fmt: skip
    (tmp_path / "checkpoint-100" / "training_state.json").write_text('{"global_step": 100}')
    found = find_checkpoints(tmp_path)
    assert [entry.step for entry in found] == [100, 200, 250, 275]
    assert [entry.path.parent.name for entry in found][1] == "checkpoint-200"
    assert found[0].trainer == "simpletuner"


def test_diffusers_script(tmp_path: Path) -> None:
    """`accelerate` writes its state into the same folders: only the LoRA in them is a checkpoint."""
    lay(tmp_path, ["checkpoint-500/pytorch_lora_weights.safetensors", "checkpoint-500/scheduler.bin",
                   "checkpoint-1000/pytorch_lora_weights.safetensors", "checkpoint-1000/optimizer.bin",
                   "logs/text2image/events.out", "pytorch_lora_weights.safetensors"])  # fmt: skip
    save_file({"conv_in.weight": torch.zeros(1)}, tmp_path / "checkpoint-500" / "model.safetensors")
    assert steps(tmp_path) == [500, 1000, None]


def test_musubi_run(tmp_path: Path) -> None:
    """As sd-scripts: steps, epochs whose step stands in the header, a final one."""
    lora(tmp_path / "kon-000002.safetensors", ss_steps="80", ss_epoch="2")
    lora(tmp_path / "kon-step00000050.safetensors", ss_steps="50")
    lora(tmp_path / "kon.safetensors", ss_steps="160")
    lay(tmp_path, ["kon-step00000050-state/custom_checkpoint_0.pkl", "sample/kon_000050_00_20250101.png"])
    assert [(entry.step, entry.epoch) for entry in find_checkpoints(tmp_path)] == [(50, None), (80, 2), (160, None)]


def test_epochs_without_a_known_step_come_last_in_order(tmp_path: Path) -> None:
    """sd-scripts with --no_metadata: nothing tells the steps, so only "latest" reaches them."""
    for name in ("cat-000010", "cat-000002", "cat"):
        lora(tmp_path / f"{name}.safetensors")
    found = find_checkpoints(tmp_path)
    assert [(entry.step, entry.epoch) for entry in found] == [(None, 2), (None, 10), (None, None)]
    assert select_checkpoint(found, 0, "latest").path.name == "cat.safetensors"
    with pytest.raises(LoraError, match="only with mode 'latest'"):
        select_checkpoint(found, 2)


def test_a_date_in_the_name_is_no_epoch(tmp_path: Path) -> None:
    """The final of a run called `cat-240501` is not its epoch 240501: the header holds the run's name."""
    lora(tmp_path / "cat-240501-step00000100.safetensors", ss_output_name="cat-240501", ss_steps="100")
    lora(tmp_path / "cat-240501.safetensors", ss_output_name="cat-240501", ss_steps="200")
    found = find_checkpoints(tmp_path)
    assert [(entry.step, entry.epoch, entry.run) for entry in found] == [(100, None, None), (200, None, None)]


def test_onetrainer_names_tell_the_epoch_too(tmp_path: Path) -> None:
    lay(tmp_path, ["save/cat2024-05-01_10-00-00-save-200-2-0.safetensors", "config/x.json", "tensorboard/events"])
    assert [(entry.step, entry.epoch) for entry in find_checkpoints(tmp_path)] == [(200, 2)]


def test_a_folder_of_run_folders(tmp_path: Path) -> None:
    """ai-toolkit's and EriDiffusion's output folder: each run by its path below it, clutter left out."""
    lora(tmp_path / "woman" / "woman_000000250.safetensors")
    lora(tmp_path / "woman" / "woman.safetensors", training_info=json.dumps({"step": 500}))
    lay(tmp_path, ["flux/dog/checkpoint-250/flux_lora.safetensors", "samples/x/flux_lora_step1.safetensors",
                   "cache/flux_lora_step2.safetensors", "old-state/lora.safetensors"])  # fmt: skip
    found = find_checkpoints(tmp_path)
    assert {(entry.run, entry.step) for entry in found} == {("woman", 250), ("woman", 500), ("flux/dog", 250)}
    with pytest.raises(LoraError, match=rf"several runs: flux/dog, woman.*{tmp_path.name}"):
        select_checkpoint(found, 250)
    assert steps(tmp_path / "woman") == [250, 500]
    assert steps(tmp_path / "flux" / "dog") == [250]


def test_one_nested_run_needs_no_name(tmp_path: Path) -> None:
    lay(tmp_path, ["my_run/flux_lora_step10.safetensors", "my_run/flux_lora_step20.safetensors"])
    assert select_checkpoint(find_checkpoints(tmp_path), 20).path.name == "flux_lora_step20.safetensors"


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert find_checkpoints(tmp_path) == []


ENTRIES = [Checkpoint(step, Path(f"{step}.safetensors"), "t") for step in (250, 500, 750, 1000, None)]


@pytest.mark.parametrize(("text", "expected"), [
    ("all", [250, 500, 750, 1000]), ("500", [500]), (" 1000 , 250 ", [250, 1000]), ("0,500,500", [0, 500]),
    ("500-", [500, 750, 1000]), ("-500", [250, 500]), ("300-800", [500, 750]), ("0, 700-, 250", [0, 250, 750, 1000]),
    ("0, all", [0, 250, 500, 750, 1000]), ("250 - 250", [250]),
])  # fmt: skip
def test_lists_of_steps(text: str, expected: list[int]) -> None:
    assert select_steps(ENTRIES, text) == expected


@pytest.mark.parametrize(("text", "message"), [
    ("300", "no checkpoint of step 300.*250, 500, 750, 1000"), ("251-499", "range 251-499.*250, 500"),
    ("", "Write 'all'"), ("-", "Write 'all'"), ("1e3", "Write 'all'"), ("250;500", "Write 'all'"),
    ("500,", "Write 'all'"), ("²", "Write 'all'"), ("9" * 5000, "Write 'all'"), ("0-" + "9" * 5000, "Write 'all'"),
])  # fmt: skip
def test_mistakes_in_lists_of_steps(text: str, message: str) -> None:
    with pytest.raises(LoraError, match=message):
        select_steps(ENTRIES, text)


def test_lists_of_steps_want_one_run_with_known_steps() -> None:
    other = Checkpoint(1, Path("b-1.safetensors"), "t", run="b")
    with pytest.raises(LoraError, match="several runs"):
        select_steps([*ENTRIES, other], "all")
    with pytest.raises(LoraError, match="none of a known step"):
        select_steps([ENTRIES[-1]], "all")


@given(saved=st.sets(st.integers(0, 300), min_size=1), first=st.integers(0, 300), width=st.integers(0, 100))
def test_a_range_is_what_lies_in_it(saved: set[int], first: int, width: int) -> None:
    entries = [Checkpoint(step, Path(f"{step}.safetensors"), "t") for step in saved]
    inside = sorted(step for step in saved if first <= step <= first + width)
    if inside:
        assert select_steps(entries, f"{first}-{first + width}") == inside
    else:
        with pytest.raises(LoraError):
            select_steps(entries, f"{first}-{first + width}")
    assert known_steps(entries) == sorted(saved)
