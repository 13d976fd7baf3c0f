"""Pictures of both styles with a LoRA at a step, and with SDXL's samplers that draw noise on the way.

What the notes of style stock promise is what the host's pictures are held to: equal, or apart by what they name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, write_kohya, write_text_kohya
from comfyui_eridiffusion.workflows import Workflow, build

EXAMPLES = Path(__file__).parents[2] / "examples"
Picture = np.ndarray[Any, Any]


class Host:
    """Runs prompts one after the other; loaded models stay in the host's cache from one to the next."""

    def __init__(self, comfy_host: Any, folder: Path) -> None:
        self.comfy, self.folder, self.executor = comfy_host, folder, new_executor()

    def picture(self, prompt: dict[str, Any]) -> Picture:
        succeed(prompt, self.executor)
        (path,) = self.folder.rglob("*.png")
        with Image.open(path) as opened:
            found = np.asarray(opened.convert("RGB")).astype(np.int16)
        path.unlink()
        assert found.std() > 5, "a picture without content proves nothing"
        return found

    def build(self, spec: SampleSpec, style: str, **options: Any) -> Workflow:
        import folder_paths

        offered = {"loras": folder_paths.get_filename_list("loras")}
        return build(spec, EXAMPLES / "models" / f"{spec.family}.yaml", style=style, offered=offered, **options)


@pytest.fixture
def host(comfy_host: Any, tmp_path: Path) -> Iterator[Host]:
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    with folders(loras=tmp_path / "loras"):
        yield Host(comfy_host, tmp_path / "output")
    folder_paths.set_output_directory(before)


def spec_of(family: str, sampler: str | None = None, trainer: str = "native", **item: Any) -> SampleSpec:
    flux = family == "flux"
    one = SampleItem(
        0, "a red zorp", 64, 64, 4, seed=42, guidance=3.0 if flux else None, cfg_scale=1.0 if flux else 3.0,
        negative_prompt="" if flux else "dull", sampler=sampler, **item,
    )  # fmt: skip
    return SampleSpec(family, trainer, [one], name="same")


def write_run(host: Host, family: str, folder: Path) -> None:
    """Two steps of a run in sd-scripts' names, which the stock loader reads, too: for the model and for CLIP-L."""
    nodes = host.comfy.nodes
    (model, *_) = nodes["EriExampleModelLoader"].execute(name=f"{family}_small.safetensors", family=family).args
    (clip, *_) = nodes["EriExampleCLIPLoader"].execute(name="text_small.safetensors", type=family).args
    for step in (100, 200):
        path, text = folder / "run" / f"a-step{step:08d}.safetensors", folder / "text.safetensors"
        write_kohya(path, model, step)
        write_text_kohya(text, clip, step, only="clip_l")
        save_file({**load_file(path), **load_file(text)}, path, {"ss_steps": str(step)})
        text.unlink()


def as_the_hosts_own(workflow: Workflow, sampler: str) -> dict[str, Any]:
    """Style eri's graph for SDXL with the host's sampler in the place of the trainer's, ending on sigma 0."""
    prompt = workflow.api()
    prompt["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": sampler}}
    prompt["sigmas"]["inputs"]["final_alpha"] = "1"
    return prompt


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_a_steps_lora_is_the_same_in_both_styles(host: Host, tmp_path: Path, family: str) -> None:
    """Pixel for pixel with the LoRA merged in both, and off by 1 of 255 at most beside the float32 weights; SDXL's with
    the host's sampler in both, by which alone the styles differ there."""
    write_run(host, family, tmp_path / "loras")
    spec = spec_of(family, lora_scale=0.5)
    found = {}
    for step in (0, 100, 200):
        eri, stock = (host.build(spec, style, run="run", step=step) for style in ("eri", "stock"))
        prompt = as_the_hosts_own(eri, "ddim") if family == "sdxl" else eri.api()
        found[step] = host.picture(stock.api())
        if step:
            assert np.abs(host.picture(prompt).astype(int) - found[step].astype(int)).max() <= 1, step
            prompt["lora"]["inputs"]["apply"] = "into the weights"
        assert np.array_equal(host.picture(prompt), found[step]), step
        assert any("key names it does not know" in note for note in stock.notes) is (step != 0)
        assert not [note for note in stock.notes if "differ" in note or "apart" in note]
    assert not np.array_equal(found[100], found[200])
    assert not np.array_equal(found[0], found[200])


def test_a_file_that_stock_cannot_read_leaves_its_picture_without_the_lora(host: Host) -> None:
    """EriDiffusion V2's names: style stock's note about the host's loader is meant for them."""
    with folders(loras=EXAMPLES / "runs"):
        spec = spec_of("flux")
        base = host.picture(host.build(spec, "stock").api())
        stock = host.build(spec, "stock", run="flux_zorp", step=700)
        assert np.array_equal(host.picture(stock.api()), base)
        assert any("key names it does not know" in note for note in stock.notes)
        ours = host.picture(host.build(spec, "eri", run="flux_zorp", step=700).api())
    assert not np.array_equal(ours, base)


@pytest.mark.parametrize(("word", "own", "says"), [
    ("ddpm", "ddpm", ("'ddpm'", "the pictures differ")),
    ("euler", "ddim", ("'ddim' is Euler", "slightly off")),
])  # fmt: skip
def test_sdxls_other_samplers_differ_by_the_hosts_own(host: Host, word: str, own: str, says: tuple[str, ...]) -> None:
    """With the host's sampler in the place of the trainer's, style eri gives the pixels of style stock."""
    spec = spec_of("sdxl", word)
    eri, stock = host.build(spec, "eri"), host.build(spec, "stock")
    ours, theirs = host.picture(eri.api()), host.picture(stock.api())
    assert not np.array_equal(ours, theirs)
    assert any(all(part in note for part in says) for note in stock.notes)
    assert np.array_equal(host.picture(as_the_hosts_own(eri, own)), theirs)


@pytest.mark.parametrize("word", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [20, 28, 30])
def test_steps_that_the_hosts_schedule_does_not_have_are_named(host: Host, word: str, steps: int) -> None:
    import comfy.model_sampling
    import comfy.samplers

    made = len(comfy.samplers.ddim_scheduler(comfy.model_sampling.ModelSamplingDiscrete(), steps)) - 1
    spec = SampleSpec("sdxl", "native", [SampleItem(0, "a", 64, 64, steps, seed=1, sampler=word)])
    note = f"makes {made} steps where the trainer makes {steps}"
    assert any(note in text for text in host.build(spec, "stock").notes) is (made != steps)


@pytest.mark.parametrize(
    ("trainer", "word", "own"),
    [
        ("kohya", "euler_a", ("euler_ancestral", "normal")),
        ("onetrainer", "DPMPP_KARRAS", ("dpmpp_2m", "karras")),
        ("ai-toolkit", "pndm", ("ipndm", "ddim_uniform")),
    ],
)
def test_style_stock_takes_the_hosts_sampler_and_says_that_it_is_another(
    host: Host, trainer: str, word: str, own: tuple[str, str]
) -> None:
    workflow = host.build(spec_of("sdxl", word, trainer), "stock")
    (sampler,) = [node for node in workflow.api().values() if node["class_type"] == "KSampler"]
    assert (sampler["inputs"]["sampler_name"], sampler["inputs"]["scheduler"]) == own
    assert any(repr(own[0]) in note and "the pictures differ" in note for note in workflow.notes)
    assert host.picture(workflow.api()).std() > 5
