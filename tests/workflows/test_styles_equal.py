"""One spec, four graphs (style eri and stock, API and canvas form): the pictures that the host makes of them.

The host is given the canvas's form where that is the API form node by node, which is looked at first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.samplers.schedules import flow_sigmas, flux_mu, flux_sigmas
from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed
from comfyui_eridiffusion.tests.workflows.graph_to_prompt import graph_to_prompt, object_info
from comfyui_eridiffusion.tests.workflows.test_canvas_form import same_graph
from comfyui_eridiffusion.workflows import Workflow, build

MODELS = Path(__file__).parents[2] / "examples" / "models"
Pictures = list[np.ndarray[Any, Any]]


def spec_of(family: str, trainer: str, **changes: Any) -> SampleSpec:
    """Two samples of different sizes, steps, seeds and prompts, weights in brackets among them."""
    flux = family == "flux"
    items = [
        SampleItem(
            i, ("a red (zorp:1.3) on blue", "a green star")[i], 64 + 32 * i, 64, 4 + i, seed=42 + i,
            guidance=3.0 if flux else None, cfg_scale=1.0 if flux else 3.0, negative_prompt="" if flux else "dull",
        )
        for i in range(2)
    ]  # fmt: skip
    return SampleSpec(family, trainer, items, name="same", **changes)


@dataclass(frozen=True)
class Host:
    """Runs prompts one after the other; loaded models stay in the host's cache from one to the next."""

    folder: Path
    executor: Any
    known: dict[str, Any]

    def pictures(self, prompt: dict[str, Any]) -> Pictures:
        """What the host saved, in the order of the spec's items."""
        succeed(prompt, self.executor)
        found = []
        for path in sorted(self.folder.rglob("*.png")):
            with Image.open(path) as picture:
                found.append(np.asarray(picture.convert("RGB")).astype(np.int16))
            path.unlink()
        assert [picture.shape for picture in found] == [(64, 64, 3), (64, 96, 3)]
        assert all(picture.std() > 10 for picture in found), "a picture without content proves nothing"
        return found

    def both_forms(self, workflow: Workflow) -> Pictures:
        """Pictures of the canvas's form, which is the API form."""
        canvas = graph_to_prompt(workflow.ui(self.known), self.known)
        same_graph(canvas, workflow.api(), self.known)
        return self.pictures(canvas)


@pytest.fixture
def host(comfy_host: Any, tmp_path: Path) -> Iterator[Host]:
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield Host(tmp_path, new_executor(), object_info(comfy_host.nodes))
    folder_paths.set_output_directory(before)


def furthest(one: Pictures, other: Pictures) -> int:
    return max(int(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("family", "trainer"), [("flux", "native"), ("sd35", "native"), ("sd35", "eridiffusion")])
def test_flow_models_give_the_same_pixels_in_both_styles_and_forms(host: Host, family: str, trainer: str) -> None:
    made = []
    for style in ("eri", "stock"):
        workflow = build(spec_of(family, trainer), MODELS / f"{family}.yaml", style=style)
        assert not [note for note in workflow.notes if "differ" in note or "apart" in note]
        made.append(host.both_forms(workflow))
    assert furthest(*made) == 0


@pytest.mark.parametrize("steps", [1, 3, 4, 20, 28, 30])
@pytest.mark.parametrize(("family", "trainer"), [("flux", "native"), ("sd35", "eridiffusion")])
def test_the_note_says_how_far_the_hosts_simple_schedule_is_off(
    comfy_host: Any, family: str, trainer: str, steps: int
) -> None:
    """The host's scheduler on its own model class beside evenly spaced times with the same shift."""
    import comfy.model_sampling
    import comfy.samplers

    sampling: Any
    if family == "flux":
        sampling, mu = comfy.model_sampling.ModelSamplingFlux(), flux_mu(64 * 48)
        sampling.set_parameters(shift=mu)
        expected = flux_sigmas(steps, 64 * 48)
    else:
        sampling = comfy.model_sampling.ModelSamplingDiscreteFlow()
        sampling.set_parameters(shift=3.0, multiplier=1000)
        expected = flow_sigmas(steps, 3.0, "linear")
    gap = float((comfy.samplers.simple_scheduler(sampling, steps) - expected).abs().max())
    item = SampleItem(0, "a star", 1024, 768, steps, seed=1, guidance=3.0 if family == "flux" else None)
    workflow = build(SampleSpec(family, trainer, [item], name="same"), MODELS / f"{family}.yaml", style="stock")
    notes = [note for note in workflow.notes if "'simple'" in note]
    assert len(notes) == (1 if gap > 1e-6 else 0)
    assert all(f"up to {gap:.1g} off" in note for note in notes)


def test_sdxl_differs_by_the_hosts_ddim_alone(host: Host) -> None:
    """With the host's `ddim` in the place of the trainer's DDIM, style eri gives the pixels of style stock."""
    spec, models = spec_of("sdxl", "native"), MODELS / "sdxl.yaml"
    workflow, stock = build(spec, models), build(spec, models, style="stock")
    theirs = host.both_forms(stock)
    assert furthest(host.both_forms(workflow), theirs) > 0
    (note,) = [note for note in stock.notes if "'ddim' is Euler" in note]
    assert "first sigma" in note
    assert "sigma 0" in note
    swapped = workflow.api()
    swapped["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "ddim"}}
    swapped["sigmas"]["inputs"]["final_alpha"] = "1"
    assert furthest(theirs, host.pictures(swapped)) == 0


def test_a_trainers_own_noise_and_rounding_are_all_that_stock_lacks(host: Host) -> None:
    """ai-toolkit on SD 3.5 draws bfloat16 noise, steps in it and rounds its pixels: what the notes say, and no more."""
    spec, models = spec_of("sd35", "ai-toolkit"), MODELS / "sd35.yaml"
    workflow, stock = build(spec, models), build(spec, models, style="stock")
    text = " ".join(stock.notes)
    assert "torch-cpu/nchw/bfloat16: the pictures differ" in text
    assert "The trainer steps in half precision, KSampler in float32" in text
    assert "at most 1 of 255 apart" in text
    theirs = host.pictures(stock.api())
    swapped = workflow.api()
    swapped["noise"]["inputs"]["profile"] = "torch-cpu/nchw/float32"
    swapped["sampler"]["inputs"]["latent_dtype"] = "float32"
    assert furthest(theirs, host.pictures(swapped)) == 1
    swapped["save"]["inputs"]["rounding"] = "truncate"
    assert furthest(theirs, host.pictures(swapped)) == 0
