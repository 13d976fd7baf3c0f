"""The cells' data without ComfyUI: what they are read as, their noise, and the table that tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui_eridiffusion.samplers.noise import initial_noise
from comfyui_eridiffusion.tests.parity.cells import CELLS, COMMITS, DATA
from comfyui_eridiffusion.tests.parity.graph_runs import Sample, cell_spec, trainer_samples
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.trainers.claims import Claim
from comfyui_eridiffusion.trainers.profiles import profile_for
from comfyui_eridiffusion.workflows.parity import explain

#: How claims name a run as their evidence.
RUNS = "parity/test_trainer_runs.py::"
CHANNELS = {"flux": 16, "sd35": 16, "sdxl": 4}


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[int, Sample]]:
    return trainer_samples()


@pytest.mark.parametrize("tag", CELLS)
def test_the_config_is_read_as_the_trainer_sampled_it(theirs: dict[str, dict[int, Sample]], tag: str) -> None:
    cell, spec = CELLS[tag], cell_spec(tag)
    assert (spec.trainer, spec.family, spec.precision) == (cell.trainer, cell.family, "float32")
    assert {item.sampler or "" for item in spec.items} == {cell.sampler}
    sizes = {item.index: (item.height, item.width, 3) for item in spec.items}
    assert sizes == {index: tuple(sample.picture.shape) for index, sample in theirs[tag].items()}
    for item in spec.items:
        sigmas = theirs[tag][item.index].sigmas
        assert (sigmas is None) is (cell.family == "sdxl")
        assert sigmas is None or len(sigmas) == item.steps + 1


def noise_equals(tag: str, theirs: dict[str, dict[int, Sample]]) -> bool:
    spec = cell_spec(tag)
    return all(
        initial_noise(
            profile_for(spec, item.sampler).noise,
            item.seed or 0, 1, CHANNELS[spec.family], item.height // 8, item.width // 8,
        )[0].equal(theirs[tag][item.index].noise)
        for item in spec.items
    )  # fmt: skip


@pytest.mark.parametrize("tag", [tag for tag, cell in CELLS.items() if cell.noise == "drawn"])
def test_noise_is_what_the_trainer_drew(theirs: dict[str, dict[int, Sample]], tag: str) -> None:
    assert noise_equals(tag, theirs)


@pytest.mark.parametrize("tag", [tag for tag, cell in CELLS.items() if cell.noise == "fed"])
def test_noise_has_the_layout_and_dtype_that_the_trainer_asked_for(
    theirs: dict[str, dict[int, Sample]], tag: str
) -> None:
    """The trainer was given this pack's CUDA numbers: nothing is said here of the generator."""
    assert noise_equals(tag, theirs)


@pytest.mark.parametrize("tag", CELLS)
def test_what_is_claimed_of_a_sample_is_what_came_of_it(tag: str) -> None:
    """The same picture is not called different."""
    spec = cell_spec(tag)
    for item in spec.items:
        told = {match.topic for match in explain(spec.part([item])) if match.kind == "different"} - {"file layout"}
        assert not told, item.index


def claims_on_runs() -> Iterator[tuple[str, str, Claim, str]]:
    """Trainer, family, claim and the tag it names, of all that count: before them no claim holds for all configs."""
    for trainer in TRAINERS.values():
        for way in trainer.ways:
            settled: set[str] = set()
            for claim in way.claims:
                names = [name for name in claim.evidence if name.startswith(RUNS) and claim.topic not in settled]
                yield from ((trainer.id, way.family, claim, name.removeprefix(RUNS)) for name in names)
                settled |= {claim.topic} if claim.when is None else set()


@pytest.mark.parametrize(("trainer", "family", "claim", "tag"), [*claims_on_runs()])
def test_a_claim_names_a_run_that_shows_it(trainer: str, family: str, claim: Claim, tag: str) -> None:
    cell = CELLS[tag]
    assert (cell.trainer, cell.family) == (trainer, family)
    assert cell.lora or claim.topic != "LoRA scale"
    assert (cell.noise, claim.kind) != ("fed", "exact") or claim.topic != "noise"


def test_every_trainer_names_what_was_run() -> None:
    assert {cell.trainer for cell in CELLS.values()} == set(COMMITS)


def test_no_file_lies_there_unused() -> None:
    """And the whole stays small."""
    used = {DATA / "runs.safetensors", DATA / "half_runs.safetensors"}
    used |= set().union(*(files(DATA / "configs" / cell.config) for cell in CELLS.values()))
    used |= {path for cell in CELLS.values() if cell.lora for path in (DATA / "loras" / cell.lora).iterdir()}
    found = {path for path in DATA.rglob("*") if path.is_file()}
    assert found == used
    assert sum(path.stat().st_size for path in found) < 4_000_000


def files(config: Path) -> set[Path]:
    """A config and the file of prompts that it names."""
    text = config.read_text(encoding="utf-8")
    return {config, *(path for path in config.parent.iterdir() if json.dumps(path.name) in text)}
