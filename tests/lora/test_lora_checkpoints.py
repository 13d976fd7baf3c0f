"""Finding a run's checkpoints and choosing among them, on folders laid out as the trainers lay them out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from comfyui_eridiffusion.lora import Checkpoint, LoraError, checkpoints, find_checkpoints, select_checkpoint
from comfyui_eridiffusion.lora.checkpoints import step_of
from comfyui_eridiffusion.tests.lora.run_folders import lay, lora


def found(run: Path) -> list[tuple[int | None, str]]:
    base = run if run.is_dir() else run.parent
    return [(entry.step, entry.path.relative_to(base).as_posix()) for entry in find_checkpoints(run)]


def test_eridiffusion_v2_run(tmp_path: Path) -> None:
    """Unpadded numbers in numeric order, the final's number before `steps`, twins and clutter left out."""
    lay(tmp_path, ["sdxl_lora_step250.safetensors", "sdxl_lora_step1000.safetensors", "sdxl_lora_step50.safetensors",
                   "sdxl_lora_2000steps.safetensors", "sdxl_lora_step250_comfyui.safetensors",
                   "sdxl_lora_2000steps_comfyui.safetensors", "last_iteration.json", "sample_step250.png"])  # fmt: skip
    assert found(tmp_path) == [
        (50, "sdxl_lora_step50.safetensors"),
        (250, "sdxl_lora_step250.safetensors"),
        (1000, "sdxl_lora_step1000.safetensors"),
        (2000, "sdxl_lora_2000steps.safetensors"),
    ]
    assert {entry.trainer for entry in find_checkpoints(tmp_path)} == {"eridiffusion-v2"}
    assert {entry.run for entry in find_checkpoints(tmp_path)} == {None}


def test_companion_alone_is_an_entry(tmp_path: Path) -> None:
    lay(tmp_path, ["sdxl_lora_step250_comfyui.safetensors", "sdxl_lora_step500.safetensors"])
    assert found(tmp_path) == [
        (250, "sdxl_lora_step250_comfyui.safetensors"),
        (500, "sdxl_lora_step500.safetensors"),
    ]


V1_LAYOUTS = {
    "flux, crates": (["step_000250/lora.safetensors", "step_001000/lora.safetensors"], ["step_000250/ema.safetensors"]),
    "flux, src": (["checkpoint-250/flux_lora.safetensors", "checkpoint-1000/flux_lora.safetensors"],
                  ["checkpoint-250/training_state.json"]),
    "sdxl": (["checkpoint-250.safetensors", "checkpoint-1000.safetensors"], ["sdxl_step_000250_sample_00_a.png"]),
    "sdxl manager": (["checkpoint-250/sdxl_lora.safetensors", "checkpoint-1000/sdxl_lora.safetensors"], []),
    "sd35, nothing written": ([], ["checkpoint-250/training_state.json", "checkpoint-1000/training_state.json"]),
    "chroma": (["lora_step0250.safetensors", "lora_step1000.safetensors"], ["lora_ema_step0250.safetensors"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", V1_LAYOUTS)
def test_eridiffusion_v1_layouts(tmp_path: Path, layout: str) -> None:
    files, clutter = V1_LAYOUTS[layout]
    lay(tmp_path, [*files, *clutter])
    assert found(tmp_path) == list(zip((250, 1000), files, strict=False))
    assert all(entry.trainer == "eridiffusion" for entry in find_checkpoints(tmp_path))


def test_generic_v1_manager_is_told_by_its_metadata(tmp_path: Path) -> None:
    lay(tmp_path, ["checkpoint-10/adapter_model.safetensors", "checkpoint-20/adapter_model.safetensors"])
    (tmp_path / "checkpoint-10/metadata.json").write_text('{"network_alpha": 8.0, "step": 10}')
    (tmp_path / "checkpoint-latest").symlink_to(tmp_path / "checkpoint-20")
    assert [(entry.step, entry.trainer) for entry in find_checkpoints(tmp_path)] == [(10, "eridiffusion"), (20, "peft")]


def test_ai_toolkit_run(tmp_path: Path) -> None:
    """The final's step comes from its header; embeddings and other adapters of the run are not checkpoints."""
    run = tmp_path / "my_run"
    lora(run / "my_run_000000500.safetensors")
    lora(run / "my_run_000001000.safetensors")
    lora(run / "my_run.safetensors", training_info=json.dumps({"step": 1500, "epoch": 3}))
    save_file({"emb_params": torch.zeros(4, 8)}, run / "sks_000000500.safetensors")
    lay(run, ["my_run_000000500_cn.safetensors", "optimizer.pt", "config.yaml", "samples/1__000000500_0.jpg"])
    assert [step for step, _ in found(run)] == [500, 1000, 1500]


def test_ai_toolkit_with_lora_in_the_name(tmp_path: Path) -> None:
    run = lay(tmp_path / "pet", ["pet_LoRA_000000200.safetensors", "pet_LoRA_000000100.safetensors"])
    lora(run / "pet_LoRA.safetensors", training_info='{"step": 300}')
    assert [step for step, _ in found(run)] == [100, 200, 300]


def test_numbered_file_wins_over_a_final_of_the_same_step(tmp_path: Path) -> None:
    run = lay(tmp_path / "my_run", ["my_run_000001000.safetensors"])
    lora(run / "my_run.safetensors", training_info='{"step": 1000}')
    assert found(run) == [(1000, "my_run_000001000.safetensors")]


def test_number_in_the_name_wins_over_the_header(tmp_path: Path) -> None:
    lora(tmp_path / "flux_lora_step250.safetensors", __eridiffusion_ckpt__=json.dumps({"step": 999}))
    assert found(tmp_path) == [(250, "flux_lora_step250.safetensors")]


@pytest.mark.parametrize(("file", "state"), [
    ("training_state.json", {"global_step": 150}),
    ("trainer_state.json", {"epoch": 3.0, "global_step": 150, "log_history": [{"step": 10}]}),
    ("pytorch_lora_weights-state/train_state.json", {"current_epoch": 3, "current_step": 150}),
    ("meta.json", {"train_progress": {"epoch": 3, "epoch_step": 2, "epoch_sample": 2, "global_step": 150}}),
])  # fmt: skip
def test_final_takes_its_step_from_the_state_beside_it(tmp_path: Path, file: str, state: dict[str, object]) -> None:
    """As Hugging Face's Trainer, sd-scripts (train_network.py:948) and OneTrainer (BaseModelLoader.py:25) write it."""
    lay(tmp_path, ["checkpoint-100/pytorch_lora_weights.safetensors", "pytorch_lora_weights.safetensors"])
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(state), encoding="utf-8")
    assert found(tmp_path) == [
        (100, "checkpoint-100/pytorch_lora_weights.safetensors"),
        (150, "pytorch_lora_weights.safetensors"),
    ]


def test_unknown_step_comes_last_and_is_the_latest(tmp_path: Path) -> None:
    lay(tmp_path, ["checkpoint-100/pytorch_lora_weights.safetensors", "pytorch_lora_weights.safetensors"])
    entries = find_checkpoints(tmp_path)
    assert [entry.step for entry in entries] == [100, None]
    assert select_checkpoint(entries, 0, "latest").path.parent == tmp_path
    assert select_checkpoint(entries, 10**6, "nearest").step == 100
    assert select_checkpoint(entries, 10**6, "at_or_before").step == 100


def test_simpletuner_run(tmp_path: Path) -> None:
    """Half-written and EMA folders are not checkpoints; the rolling copy of a step is not a second entry."""
    weights = "pytorch_lora_weights.safetensors"
    folders = ["checkpoint-100", "checkpoint-200", "checkpoint-200-rolling", "checkpoint-300-rolling"]
    lay(tmp_path, [f"{folder}/{weights}" for folder in folders])
    lay(tmp_path, [f"checkpoint-400-tmp/{weights}", f"checkpoint-100/ema/{weights}", "checkpoint-500/optimizer.bin",
                   "checkpoint-200/random_states_0.pkl", "checkpoint-200/training_state.json"])  # fmt: skip
    assert found(tmp_path) == [
        (100, f"checkpoint-100/{weights}"),
        (200, f"checkpoint-200/{weights}"),
        (300, f"checkpoint-300-rolling/{weights}"),
    ]
    assert find_checkpoints(tmp_path)[1].trainer == "simpletuner"


def test_a_step_that_is_too_long_for_a_number_is_unknown(tmp_path: Path) -> None:
    lora(tmp_path / "char.safetensors", ss_steps="9" * 5000)
    assert found(tmp_path) == [(None, "char.safetensors")]


def test_kohya_steps_epochs_and_final(tmp_path: Path) -> None:
    """`-000002` is an epoch: its step stands in the header."""
    lora(tmp_path / "char-000001.safetensors", ss_steps="120", ss_epoch="1")
    lora(tmp_path / "char-000002.safetensors", ss_steps="240", ss_epoch="2")
    lora(tmp_path / "char.safetensors", ss_steps="360")
    lora(tmp_path / "char-step00000200.safetensors", ss_steps="200")
    lora(tmp_path / "char-step00000240.safetensors", ss_steps="240")
    lay(tmp_path, ["char-step00000200-state/model.safetensors", "char-000001-state/optimizer.bin", "sample/a.png"])
    assert found(tmp_path) == [
        (120, "char-000001.safetensors"),
        (200, "char-step00000200.safetensors"),
        (240, "char-step00000240.safetensors"),
        (360, "char.safetensors"),
    ]
    assert find_checkpoints(tmp_path)[0].epoch == 1


def test_kohya_default_names_are_one_run(tmp_path: Path) -> None:
    lora(tmp_path / "epoch-000001.safetensors", ss_steps="10")
    lora(tmp_path / "at-step00000015.safetensors")
    lora(tmp_path / "last.safetensors", ss_steps="20")
    assert [(entry.step, entry.run) for entry in find_checkpoints(tmp_path)] == [(10, None), (15, None), (20, None)]


def test_several_runs_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    names = ["char-step00000100", "char-step00000200", "char_v2-step00000100", "char-v3-step00000300", "char"]
    lay(tmp_path, [f"{name}.safetensors" for name in names])
    entries = find_checkpoints(tmp_path)
    assert [(entry.step, entry.run) for entry in entries] == [
        (100, "char"), (100, "char_v2"), (200, "char"), (300, "char-v3"), (None, "char")
    ]  # fmt: skip
    with pytest.raises(LoraError, match=r"char, char-v3, char_v2"):
        select_checkpoint(entries, 100)
    assert [entry.step for entry in find_checkpoints(tmp_path / "char")] == [100, 200, None]
    assert [entry.step for entry in find_checkpoints(tmp_path / "char-v3")] == [300]
    with pytest.raises(LoraError, match=r"no run of this name.*char"):
        find_checkpoints(tmp_path / "chat")


def test_families_share_eridiffusions_default_output_folder(tmp_path: Path) -> None:
    lay(tmp_path, ["flux_lora_step10.safetensors", "sd35_lora_step10.safetensors", "sd35_lora_step20.safetensors"])
    assert [entry.step for entry in find_checkpoints(tmp_path / "sd35")] == [10, 20]
    assert [entry.step for entry in find_checkpoints(tmp_path / "flux_lora")] == [10]


def test_onetrainer_save_and_backup(tmp_path: Path) -> None:
    lay(tmp_path, ["save/cat2024-05-01_10-00-00-save-200-2-0.safetensors",
                   "save/cat2024-05-01_09-00-00-save-1000-10-0.safetensors"])  # fmt: skip
    assert [step for step, _ in found(tmp_path)] == [200, 1000]
    backup = lay(tmp_path / "other", ["backup/2024-05-01_10-00-00-backup-300-3-0/lora/lora.safetensors"])
    assert [step for step, _ in found(backup)] == [300]
    lay(tmp_path, [f"backup/2024-05-01_10-00-00-backup-{step}-3-0/lora/lora.safetensors" for step in (200, 1000)])
    assert [step for step, _ in found(tmp_path)] == [200, 1000]
    plain = find_checkpoints(tmp_path / "backup")
    assert [(entry.step, entry.run, entry.path.name) for entry in plain] == [
        (200, None, "lora.safetensors"), (1000, None, "lora.safetensors")
    ]  # fmt: skip


@pytest.mark.parametrize("name", [
    "flux_lora_step10.safetensors.tmp", "flux_lora_step10-tmp.safetensors", "flux_lora_step10.tmp.safetensors",
    ".flux_lora_step10.safetensors", "flux_lora_step10.part", "flux_lora_step10.pt", "optimizer.safetensors",
    "optstate.safetensors", "flux_lora_step10_optstate.safetensors", "ema.safetensors",
    "random_states_0.safetensors", "flux_lora_step10.safetensors/inside.txt",
])  # fmt: skip
def test_not_checkpoints(tmp_path: Path, name: str) -> None:
    assert find_checkpoints(lay(tmp_path, [name])) == []


def test_other_weights_beside_a_run_are_not_checkpoints(tmp_path: Path) -> None:
    lay(tmp_path, ["flux_lora_step10.safetensors"])
    save_file({"decoder.conv_in.weight": torch.zeros(1)}, tmp_path / "ae.safetensors")
    save_file({"model.weight": torch.zeros(1)}, tmp_path / "checkpoint-000010.safetensors.bak")
    assert [step for step, _ in found(tmp_path)] == [10]


def test_single_file_and_single_step_folder(tmp_path: Path) -> None:
    lay(tmp_path, ["checkpoint-70/flux_lora.safetensors", "flux_lora_step5.safetensors"])
    assert [entry.step for entry in find_checkpoints(tmp_path / "flux_lora_step5.safetensors")] == [5]
    assert [entry.step for entry in find_checkpoints(tmp_path / "checkpoint-70")] == [70]
    assert step_of(tmp_path / "checkpoint-70/flux_lora.safetensors") == 70


def test_missing_and_empty(tmp_path: Path) -> None:
    assert find_checkpoints(tmp_path) == []
    with pytest.raises(LoraError, match="no such folder"):
        find_checkpoints(tmp_path / "a" / "b")
    with pytest.raises(LoraError, match="holds no LoRA checkpoints"):
        find_checkpoints(tmp_path / "run")
    with pytest.raises(LoraError, match="no LoRA checkpoints yet"):
        select_checkpoint([], 1)


def test_errors_of_selection_list_what_there_is(tmp_path: Path) -> None:
    entries = find_checkpoints(lay(tmp_path, [f"flux_lora_step{n}.safetensors" for n in (100, 20)]))
    with pytest.raises(LoraError, match=r"no checkpoint of step 50.*20, 100"):
        select_checkpoint(entries, 50)
    with pytest.raises(LoraError, match=r"at or before step 10.*20, 100"):
        select_checkpoint(entries, 10, "at_or_before")
    with pytest.raises(LoraError, match=r"unknown mode 'newest'.*exact, nearest, at_or_before, latest"):
        select_checkpoint(entries, 10, "newest")
    with pytest.raises(LoraError, match="whole number"):
        select_checkpoint(entries, None, "nearest")


FORMATS = ["flux_lora_step{}.safetensors", "step_{:06d}/lora.safetensors", "checkpoint-{}/flux_lora.safetensors",
           "checkpoint-{}.safetensors", "lora_step{:04d}.safetensors", "sd35_lora_{}steps.safetensors",
           "cat-step{:08d}.safetensors", "checkpoint-{}/pytorch_lora_weights.safetensors"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps=st.sets(st.integers(0, 10**7), min_size=1, max_size=12), layout=st.sampled_from(FORMATS))
def test_any_steps_come_back_in_numeric_order(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], layout: str
) -> None:
    run = lay(tmp_path_factory.mktemp("run"), [layout.format(step) for step in steps])
    entries = find_checkpoints(run)
    assert [entry.step for entry in entries] == sorted(steps)
    assert [entry.path for entry in entries] == [run / layout.format(step) for step in sorted(steps)]


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.one_of(st.none(), st.integers(0, 500)), min_size=1, max_size=8, unique=True),
    wanted=st.integers(0, 600),
)
@example(steps=[100, 300, 900], wanted=200)
def test_selection_follows_its_definition(steps: list[int | None], wanted: int) -> None:
    entries = [Checkpoint(step, Path(f"{step}.safetensors"), "t") for step in steps]
    known = [step for step in steps if step is not None]
    assert select_checkpoint(entries, None, "latest").step == (None if None in steps else max(known))
    if wanted in known:
        assert select_checkpoint(entries, wanted).step == wanted
    else:
        with pytest.raises(LoraError):
            select_checkpoint(entries, wanted)
    before = [step for step in known if step <= wanted]
    if before:
        assert select_checkpoint(entries, wanted, "at_or_before").step == max(before)
    if known:
        nearest = select_checkpoint(entries, wanted, "nearest").step
        assert nearest is not None
        gap = min(abs(step - wanted) for step in known)
        assert nearest == min(step for step in known if abs(step - wanted) == gap)


def test_a_folder_is_searched_again_only_when_something_in_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file, a state file and a link's target count; what changed a moment ago is looked at anew."""
    searched: list[Path] = []
    original = checkpoints._search

    def counting(path: Path) -> list[checkpoints.Checkpoint]:
        searched.append(path)
        return original(path)

    monkeypatch.setattr(checkpoints, "_search", counting)
    run, other = tmp_path / "run", tmp_path / "elsewhere.safetensors"
    lora(run / "thing_000000100.safetensors")
    lora(other)
    (run / "linked_000000300.safetensors").symlink_to(other)

    def steps(age: float) -> tuple[list[int | None], int]:
        for place in (run, other, *run.iterdir()):
            then = time.time() - age
            os.utime(place, (then, then))
        before = len(searched)
        found = [find_checkpoints(run) for _ in range(3)]
        assert found == found[:1] * 3
        return [entry.step for entry in found[0]], len(searched) - before

    assert steps(60) == ([100, 300], 1)
    assert steps(60)[1] == 1  # the times are others
    before = len(searched)
    find_checkpoints(run).clear()
    assert (len(find_checkpoints(run)), len(searched)) == (2, before)
    lora(run / "thing_000000200.safetensors")
    assert steps(50) == ([100, 200, 300], 1)
    other.unlink()
    assert [entry.step for entry in find_checkpoints(run)] == [100, 200]
    (run / "thing_000000200.safetensors").unlink()
    assert [entry.step for entry in find_checkpoints(run)] == [100]
    lora(run / "thing.safetensors")
    assert [entry.step for entry in find_checkpoints(run)] == [100, None]
    (run / "training_state.json").write_text('{"global_step": 150}', encoding="utf-8")
    assert [entry.step for entry in find_checkpoints(run)] == [100, 150]
