"""Whole graphs through the host's own validation and executor, all lists in step, for the three families."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import succeed
from comfyui_eridiffusion.tests.nodes.test_lora_node import write

SPEC = {
    "eri_spec": 1,
    "family": "flux",
    "trainer": "native",
    "layout": "eridiffusion",
    "name": "graph_run",
    "items": [
        {"index": 0, "prompt": "a (red:1.4) circle", "width": 64, "height": 64, "steps": 2, "seed": 1},
        {"index": 1, "prompt": "blue", "width": 96, "height": 64, "steps": 3, "seed": 2, "negative_prompt": "dull"},
    ],
}


class LoadSmall:
    """A loader of the small models, in the host's older node form so that it needs nothing of the pack."""

    RETURN_TYPES = ("MODEL", "CLIP")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": ("STRING", {"default": "flux"})}}

    def load(self, family: str) -> tuple[Any, Any]:
        return small_models.inputs_for(family)[0], getattr(small_models, f"{family}_clip")()


class DecodeSmall:
    """Shows three latent channels as colours, eight pixels a cell."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"latent": ("LATENT",)}}

    def decode(self, latent: dict[str, Any]) -> tuple[torch.Tensor]:
        colours = latent["samples"][:, :3].sigmoid().repeat_interleave(8, 2).repeat_interleave(8, 3)
        return (colours.movedim(1, 3),)


@pytest.fixture
def folders(comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import folder_paths
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "LoadSmall", LoadSmall)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "DecodeSmall", DecodeSmall)
    extensions = folder_paths.folder_names_and_paths["loras"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path / "loras")], extensions))
    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    yield tmp_path
    folder_paths.set_output_directory(before)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def schedule(family: str, model: list[Any]) -> dict[str, Any]:
    steps = ["spec", 5]
    if family == "flux":
        shift = {"base_shift": 0.5, "max_shift": 1.15, "shifted": True}
        return node("EriFluxSchedule", steps=steps, width=["spec", 2], height=["spec", 3], **shift)
    if family == "sd35":
        return node("EriFlowSchedule", steps=steps, shift=3.0, spacing="linear")
    ddim = {"spacing": "leading", "offset": 1, "zero_terminal_snr": False, "final_alpha": "alpha[0]"}
    return node("EriDDIMSchedule", steps=steps, model=model, **ddim)


def graph(family: str, **lora: Any) -> dict[str, Any]:
    text = {"t5_length": 20, "weighting": False, "empty": "encode", "prompt_2": "", "prompt_3": ""}
    size = {"width": ["spec", 2], "height": ["spec", 3]}
    model, clip = (["lora", 0], ["lora", 1]) if lora else (["load", 0], ["load", 1])
    flow = node("EriFlowEulerSampler", s_churn=0.0, s_tmin=0.0, s_tmax=1.0, s_noise=1.0)
    vp = node("EriDDIMSampler", eta=0.0, clip_sample=False, clip_range=1.0, use_clipped_model_output=False)
    result = {
        "load": node("LoadSmall", family=family),
        "spec": node(
            "EriSampleSpec",
            config=json.dumps({**SPEC, "family": family}),
            family="auto",
            trainer="auto",
            trigger_word="",
            items="",
        ),
        "positive": node("EriTripleTextEncode", clip=clip, prompt=["spec", 0], **text, **size),
        "negative": node("EriTripleTextEncode", clip=clip, prompt=["spec", 1], **text, **size),
        "latent": node("EmptyLatentImage", batch_size=1, **size),
        "noise": node("EriTrainerNoise", seed=["spec", 4], profile="torch-cpu/nchw/float32", family=family),
        "sigmas": schedule(family, model),
        "sampler": vp if family == "sdxl" else flow,
        "sample": node(
            "EriSample",
            cfg=1.0 if family == "flux" else 2.0,
            model=model,
            positive=["positive", 0],
            negative=["negative", 0],
            noise=["noise", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent=["latent", 0],
        ),
        "decode": node("DecodeSmall", latent=["sample", 0]),
        "save": node(
            "EriSaveSamples",
            images=["decode", 0],
            name=["spec", 8],
            spec=["spec", 9],
            step=["lora", 2] if lora else 0,
            layout="auto",
            format="auto",
            existing="overwrite",
            rounding="truncate",
            run="",
        ),
        "sheet": node("EriContactSheet", images=["decode", 0], rows=["spec", 0], columns="", title="t", cell=0),
        "show": node("PreviewImage", images=["sheet", 0]),
    }
    if lora:
        strengths = {"strength_model": 1.0, "strength_clip": 1.0}
        result["lora"] = node("EriLoraAtStep", model=["load", 0], clip=["load", 1], **strengths, **lora)
    return result


def run(prompt: dict[str, Any], executor: Any = None) -> Any:
    return succeed(prompt, executor, {"extra_pnginfo": {"workflow": {"id": "kept"}}})


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_a_config_becomes_images(comfy_host: Any, folders: Path, family: str) -> None:
    executor = run(graph(family))
    saved = executor.history_result["outputs"]["save"]["images"]
    sdxl = family == "sdxl"  # EriDiffusion's documents: other names, and files with the prompts
    first = "sample" if sdxl else "step_000000_sample"
    assert [entry["filename"] for entry in saved] == [f"{first}_00.png", f"{first}_01.png"]
    folder = folders / "output" / "graph_run" / ("samples/step_000000" if sdxl else "samples_step_000000")
    sizes = []
    for entry in saved:
        with Image.open(folder / entry["filename"]) as picture:
            sizes.append(picture.size)
            assert json.loads(picture.info["workflow"]) == {"id": "kept"}
            assert json.loads(picture.info["prompt"])["sample"]["class_type"] == "EriSample"
    assert sizes == [(64, 64), (96, 64)]
    assert [path.read_text() for path in sorted(folder.glob("*.txt"))][:1] == ["a (red:1.4) circle"] * sdxl
    assert len(executor.history_result["outputs"]["show"]["images"]) == 1


def test_changing_the_step_runs_only_what_depends_on_it(comfy_host: Any, folders: Path) -> None:
    for step in (250, 500):
        write(folders / "loras" / "run" / f"sd35_lora_step{step}.safetensors", step)
    executor = run(graph("sd35", run="run", step=250, mode="exact"))
    executor = run(graph("sd35", run="run", step=500, mode="exact"), executor)
    cached = next(data["nodes"] for event, data in executor.status_messages if event == "execution_cached")
    assert {"load", "spec", "latent", "noise", "sigmas", "sampler"} <= set(cached)
    assert not {"lora", "sample", "save"} & set(cached)
    root = folders / "output" / "graph_run"
    first, second = (root / f"samples_step_{step}" / f"step_{step}_sample_00.png" for step in ("000250", "000500"))
    with Image.open(first) as one, Image.open(second) as two:
        assert one.tobytes() != two.tobytes()


def test_a_missing_step_is_refused_before_anything_runs(comfy_host: Any, folders: Path) -> None:
    import execution

    write(folders / "loras" / "run" / "sd35_lora_step250.safetensors", 250)
    prompt = graph("sd35", run="run", step=999, mode="exact")
    valid, _, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert not valid
    assert "250" in str(node_errors["lora"]["errors"])
