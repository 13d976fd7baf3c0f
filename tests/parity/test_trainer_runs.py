"""Graphs in ComfyUI beside what the trainers' own sampling code computed on the same weights, cell by cell.

Each cell is a config in a trainer's notation: read by `read_spec`, made a graph by `build`, run in ComfyUI on the
example models in float32. Noise and sigmas must be the trainer's. So must latent and picture, to `cells.SAME_LATENT`
and `cells.SAME_PIXEL`. How far they were apart is written down for docs/parity.md by

    ERI_WRITE_PARITY=1 make test ARGS="tests/parity/test_trainer_runs.py"
    python -m comfyui_eridiffusion.dev.trainer_tables

All cells of the data can be read and made a graph. Run once by hand like these, but without data, so that nothing here
stands for them:

    kohya, SDXL with a LoRA; ai-toolkit, Flux with a LoRA; ai-toolkit, SDXL with an exclamation mark
    OneTrainer, SD 3.5; SimpleTuner, SDXL; musubi-tuner, Flux
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes.host_calls import new_executor
from comfyui_eridiffusion.tests.nodes.lora_runs import folders
from comfyui_eridiffusion.tests.parity.cells import CELLS, DATA, MEASURED
from comfyui_eridiffusion.tests.parity.graph_runs import (
    Sample,
    apart,
    cell_graph,
    graph_samples,
    is_same,
    trainer_samples,
    worst,
    write_measured,
)
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.trainers.claims import FIGURES

#: Two units in the last place of a float32 just below 1.
SIGMA_ROUNDING = 1.2e-7
#: The one cell with CUDA's noise whose pictures are told to be close, and how close.
TOLD_OF_CUDA = ("kohya_flux", 1)


class StepsOfTheRun:
    """For `samplers.step_noise.NoiseStream`: the noise of the steps of a cell with `fed_steps`."""

    def __init__(self, profile: str, seed: int, shape: tuple[int, ...]) -> None:
        self.shape, self.generator = shape, torch.Generator().manual_seed(seed)

    def draw(self, dtype: str | None = None) -> torch.Tensor:
        return torch.randn(self.shape, generator=self.generator)


class Runs:
    """Ours and the trainers' samples by tag; each cell's graph is run once, a family's models stay loaded."""

    def __init__(self, host: Any) -> None:
        self.steps, self.noise = host.pack("host.sampling.samplers"), host.pack("host.sampling.noise")
        self.theirs = trainer_samples()
        self.executor = new_executor()
        self.ours = cache(self.run)

    def run(self, tag: str, executor: Any = None) -> dict[int, Sample]:
        with folders(loras=DATA / "loras"), pytest.MonkeyPatch.context() as patch:
            if CELLS[tag].fed_steps:
                patch.setattr(self.steps, "NoiseStream", StepsOfTheRun)
            found = graph_samples(cell_graph(tag), executor or self.executor)
        shapes = {index: one.picture.shape for index, one in found.items()}
        assert shapes == {index: one.picture.shape for index, one in self.theirs[tag].items()}
        assert all(one.picture.float().std() > 5 for one in found.values()), "a picture without content proves nothing"
        return found

    def pairs(self, tag: str) -> dict[int, tuple[Sample, Sample]]:
        """Ours and the trainer's sample by index of the prompt."""
        return {index: (ours, self.theirs[tag][index]) for index, ours in self.ours(tag).items()}


@pytest.fixture(scope="module")
def runs(comfy_host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path_factory.mktemp("parity")))
    yield Runs(comfy_host)
    folder_paths.set_output_directory(before)


@pytest.mark.parametrize("tag", CELLS)
def test_noise_and_sigmas_are_the_trainers(runs: Runs, tag: str) -> None:
    """For "fed" cells this is about the noise's layout and dtype alone; SDXL's timesteps show in the picture."""
    for index, (ours, theirs) in runs.pairs(tag).items():
        assert ours.noise.equal(theirs.noise), index
        assert (theirs.sigmas is None) is (CELLS[tag].family == "sdxl")
        if theirs.sigmas is not None:
            assert ours.sigmas.shape == theirs.sigmas.shape
            assert float((ours.sigmas - theirs.sigmas).abs().max()) <= SIGMA_ROUNDING, index


@pytest.mark.parametrize("tag", CELLS)
def test_the_picture_is_the_trainers(runs: Runs, tag: str) -> None:
    found = {index: apart(*pair) for index, pair in runs.pairs(tag).items()}
    assert all(is_same(one) for one in found.values()), found


def test_the_picture_is_as_close_as_told_with_a_gpus_own_noise(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's noise is reproduced up to a bound: with every value off by it, the difference is what the claim tells."""
    drawn, signs, (tag, told) = runs.noise.initial_noise, torch.Generator().manual_seed(0), TOLD_OF_CUDA

    def off_by_the_bound(*arguments: Any) -> torch.Tensor:
        noise = drawn(*arguments)
        return noise + FIGURES["torch-cuda"] * torch.empty_like(noise).bernoulli_(generator=signs).mul_(2).sub_(1)

    monkeypatch.setattr(runs.noise, "initial_noise", off_by_the_bound)
    for index, ours in runs.run(tag, new_executor()).items():
        assert apart(ours, runs.theirs[tag][index]).pixel <= told, index


def test_what_was_measured_is_written_down(runs: Runs) -> None:
    """For every cell, in this version of ComfyUI where others are there for it."""
    version = import_module("comfyui_version").__version__
    if os.environ.get("ERI_WRITE_PARITY") == "1":
        write_measured(version, {tag: worst([apart(*pair) for pair in runs.pairs(tag).values()]) for tag in CELLS})
    known = json.loads(MEASURED.read_text(encoding="utf-8"))
    hosts = {host for cell in known.values() for host in cell["apart"]}
    assert {tag: set(cell["apart"]) for tag, cell in known.items()} == dict.fromkeys(CELLS, hosts)


@pytest.mark.parametrize("tag", ["ot_flux", "aitk_sd35_lora", "aitk_sdxl_ddpm"])
def test_a_second_full_run_gives_the_same_bits(runs: Runs, tag: str) -> None:
    """With nothing kept of the first: the models are loaded anew."""
    again = runs.run(tag, new_executor())
    for index, first in runs.ours(tag).items():
        assert again[index].latent.equal(first.latent)
        assert again[index].picture.equal(first.picture)


def test_it_is_told_of_this_cell_alone() -> None:
    told = {
        (trainer.id, way.family, claim.pixels)
        for trainer in TRAINERS.values()
        for way in trainer.ways
        for claim in way.claims
        if claim.pixels is not None
    }
    cell = CELLS[TOLD_OF_CUDA[0]]
    assert told == {(cell.trainer, cell.family, TOLD_OF_CUDA[1])}
