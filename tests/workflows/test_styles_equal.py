"""One spec, four graphs (style eri and stock, API and canvas form): the pictures that the host makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.samplers.schedules import flow_sigmas, flux_mu, flux_sigmas
from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.nodes.host_calls import succeed
from comfyui_eridiffusion.tests.workflows.graph_to_prompt import graph_to_prompt, object_info
from comfyui_eridiffusion.workflows import build

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


@pytest.fixture
def output(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_output_directory(before)


def pictures(folder: Path, prompt: dict[str, Any]) -> Pictures:
    """Run a prompt in the host with nothing cached; what it saved, in the order of the spec's items."""
    succeed(prompt)
    found = []
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            found.append(np.asarray(picture.convert("RGB")).astype(np.int16))
        path.unlink()
    assert [picture.shape for picture in found] == [(64, 64, 3), (64, 96, 3)]
    assert all(picture.std() > 10 for picture in found), "a picture without content proves nothing"
    return found


def furthest(one: Pictures, other: Pictures) -> int:
    return max(int(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("family", "trainer"), [("flux", "native"), ("sd35", "native"), ("sd35", "eridiffusion")])
def test_flow_models_give_the_same_pixels_in_both_styles_and_forms(
    comfy_host: Any, output: Path, family: str, trainer: str
) -> None:
    spec, models, known = spec_of(family, trainer), MODELS / f"{family}.yaml", object_info(comfy_host.nodes)
    first = None
    for style in ("eri", "stock"):
        workflow = build(spec, models, style=style)
        assert not [note for note in workflow.notes if "differ" in note or "apart" in note]
        for prompt in (workflow.api(), graph_to_prompt(workflow.ui(known), known)):
            made = pictures(output, prompt)
            first = first or made
            assert furthest(first, made) == 0, style


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


def test_sdxl_differs_by_the_hosts_ddim_alone(comfy_host: Any, output: Path) -> None:
    """With the host's `ddim` in the place of the trainer's DDIM, style eri gives the pixels of style stock."""
    spec, models, known = spec_of("sdxl", "native"), MODELS / "sdxl.yaml", object_info(comfy_host.nodes)
    workflow, stock = build(spec, models), build(spec, models, style="stock")
    ours, theirs = pictures(output, workflow.api()), pictures(output, stock.api())
    assert furthest(ours, theirs) > 0
    assert furthest(ours, pictures(output, graph_to_prompt(workflow.ui(known), known))) == 0
    assert furthest(theirs, pictures(output, graph_to_prompt(stock.ui(known), known))) == 0
    (note,) = [note for note in stock.notes if "'ddim' is Euler" in note]
    assert "first sigma" in note
    assert "sigma 0" in note
    swapped = workflow.api()
    swapped["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "ddim"}}
    swapped["sigmas"]["inputs"]["final_alpha"] = "1"
    assert furthest(theirs, pictures(output, swapped)) == 0


def test_a_trainers_own_noise_and_rounding_are_all_that_stock_lacks(comfy_host: Any, output: Path) -> None:
    """ai-toolkit on SD 3.5 draws bfloat16 noise, steps in it and rounds its pixels: what the notes say, and no more."""
    spec, models = spec_of("sd35", "ai-toolkit"), MODELS / "sd35.yaml"
    workflow, stock = build(spec, models), build(spec, models, style="stock")
    text = " ".join(stock.notes)
    assert "torch-cpu/nchw/bfloat16: the pictures differ" in text
    assert "The trainer steps in half precision, KSampler in float32" in text
    assert "at most 1 of 255 apart" in text
    theirs = pictures(output, stock.api())
    swapped = workflow.api()
    swapped["noise"]["inputs"]["profile"] = "torch-cpu/nchw/float32"
    swapped["sampler"]["inputs"]["latent_dtype"] = "float32"
    assert furthest(theirs, pictures(output, swapped)) == 1
    swapped["save"]["inputs"]["rounding"] = "truncate"
    assert furthest(theirs, pictures(output, swapped)) == 0
