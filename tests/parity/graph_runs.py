"""Our graph of a cell, run in ComfyUI, beside what the trainer's own code computed from the same config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from comfyui_eridiffusion.protocol.events import outputs_in
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.tests.nodes.host_calls import cached_outputs, succeed
from comfyui_eridiffusion.tests.parity.cells import CELLS, DATA, MEASURED, SAME_LATENT, SAME_PIXEL
from comfyui_eridiffusion.workflows import Workflow, build

MODELS = Path(__file__).parents[2] / "examples" / "models"


@dataclass(frozen=True)
class Sample:
    """One prompt's way to its picture.

    noise, latent: [C, H, W] in float32; the latent is what the VAE decodes.
    picture: [H, W, 3] in uint8, as saved.
    sigmas: [steps + 1] in float32, None where the trainer has timesteps instead.
    """

    noise: torch.Tensor
    latent: torch.Tensor
    picture: torch.Tensor
    sigmas: torch.Tensor | None


@dataclass(frozen=True)
class Apart:
    """The largest differences of some samples: latent as a share of its largest value, pixels of 255."""

    latent: float
    pixel: int
    mean_pixel: float


def trainer_samples() -> dict[str, dict[int, Sample]]:
    """What the trainers computed, by cell and index of the prompt."""
    tensors = load_file(DATA / "runs.safetensors")
    found: dict[str, dict[int, Sample]] = {tag: {} for tag in CELLS}
    for place in sorted({name.partition(".")[0] for name in tensors}):
        tag, _, index = place.partition("/")
        noise, latent, picture = (tensors[f"{place}.{kind}"] for kind in ("noise", "latent", "picture"))
        found[tag][int(index)] = Sample(noise, latent, picture, tensors.get(f"{place}.sigmas"))
    return found


def cell_spec(tag: str) -> SampleSpec:
    """The cell's config as the trainer reads it, with the prompts that are compared."""
    cell = CELLS[tag]
    spec = read_spec(DATA / "configs" / cell.config)
    return spec.part([item for item in spec.items if not cell.only or item.index in cell.only])


def cell_graph(tag: str, most: int | None = None) -> Workflow:
    """The cell's config, or its first prompts, made a graph on the example models."""
    spec, lora = cell_spec(tag), CELLS[tag].lora
    spec = spec.part(spec.items[:most])
    return build(spec, MODELS / f"{spec.family}.yaml", run=lora or None, step=1000 if lora else None)


def graph_samples(workflow: Workflow, executor: Any) -> dict[int, Sample]:
    """Run the graph; what its nodes gave, by index of the prompt."""
    succeed(workflow.api(), executor)
    found: dict[int, Sample] = {}
    for save, indices in workflow.saves.items():
        suffix = save.removeprefix("save")
        nodes = [cached_outputs(executor, f"noise{suffix}")[0], _latents(executor, f"sample{suffix}", save)]
        apart = f"sigmas{suffix}" in workflow.api()
        nodes.append(cached_outputs(executor, f"{'sigmas' if apart else 'sampler'}{suffix}")[0 if apart else 1])
        files = outputs_in(executor.history_result)[save]["images"]
        for index, noise, sample, sigmas, file in zip(indices, *nodes, files, strict=True):
            latent = sample["samples"]
            drawn = noise.generate_noise({"samples": torch.zeros_like(latent)})
            found[index] = Sample(drawn[0], latent[0], _picture(file), sigmas)
    return found


def _latents(executor: Any, sample: str, save: str) -> list[dict[str, Any]]:
    """What Sample gave: as a whole, or in the saver's branches, which say which pictures each of them made."""
    whole = cached_outputs(executor, sample)
    if whole is not None:
        return whole[0]
    found: dict[int, dict[str, Any]] = {}
    for node, output in executor.history_result["outputs"].items():
        if executor.history_result["meta"][node]["display_node"] == save:
            latents = cached_outputs(executor, node.replace(".save_", ".sample_"))[0]
            found.update(zip(output["pictures"], latents, strict=True))
    return [found[number] for number in sorted(found)]


def _picture(file: dict[str, str]) -> torch.Tensor:
    import folder_paths

    path = Path(folder_paths.get_output_directory(), file["subfolder"], file["filename"])
    with Image.open(path) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB")))


def apart(ours: Sample, theirs: Sample) -> Apart:
    """How far two samples of one size are from each other."""
    pixels = (ours.picture.int() - theirs.picture.int()).abs()
    latent = (ours.latent - theirs.latent).abs().max() / theirs.latent.abs().max()
    return Apart(float(latent), int(pixels.max()), float(pixels.float().mean()))


def is_same(found: Apart) -> bool:
    return found.latent <= SAME_LATENT and found.pixel <= SAME_PIXEL


def worst(found: list[Apart]) -> Apart:
    """The largest of each difference."""
    return Apart(
        max(one.latent for one in found), max(one.pixel for one in found), max(one.mean_pixel for one in found)
    )


def write_measured(host: str, found: dict[str, Apart]) -> None:
    """Write down how far the cells were apart in this version of ComfyUI; those of other versions stay."""
    before = json.loads(MEASURED.read_text(encoding="utf-8"))
    cells = {}
    for tag, one in found.items():
        cell = CELLS[tag]
        told = {name: getattr(cell, name) for name in ("trainer", "family", "sampler", "lora", "noise")}
        apart = {
            **before.get(tag, {}).get("apart", {}),
            host: [f"{one.latent:.1e}", one.pixel, f"{one.mean_pixel:.4f}"],
        }
        cells[tag] = {**told, "apart": apart}
    rows = ",\n".join(f" {json.dumps(tag)}: {json.dumps(cell)}" for tag, cell in cells.items())
    MEASURED.write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
