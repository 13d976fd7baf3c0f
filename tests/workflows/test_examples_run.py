"""Every file of `example_workflows/` run in a host on the small models, and what the saved pictures carry."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.example_graphs import examples
from comfyui_eridiffusion.dev.example_pictures import RUN, Prompt, packed_latent, put_inputs, swap
from comfyui_eridiffusion.dev.local_host import LocalHost

#: Sampling steps instead of the graphs' own: this is about graphs that run, not about good pictures.
STEPS = 2
EXAMPLES = {example.name: example for example in examples()}
SHEETS = {"LoRA training steps side by side", "LoRA training steps by strengths", "Guidance values side by side"}


def few_steps(prompt: Prompt) -> Prompt:
    """The prompt with STEPS sampling steps, in its schedules and in its config's items; saved as PNG."""
    for node in prompt.values():
        inputs = node["inputs"]
        if isinstance(inputs.get("steps"), int):
            inputs["steps"] = STEPS
        if "format" in inputs:
            inputs["format"] = "png"  # its texts can be read without a parser of EXIF
        if "config" in inputs:
            config = json.loads(inputs["config"])
            items = [item | {"steps": STEPS} for item in config["items"]]
            inputs["config"] = json.dumps(config | {"items": items})
    return prompt


@pytest.fixture(scope="module")
def pictures(host_server: LocalHost) -> dict[str, list[Image.Image]]:
    """What each example saved."""
    return asyncio.run(run_all(host_server))


async def run_all(host: LocalHost) -> dict[str, list[Image.Image]]:
    found = {}
    async with HostClient(host.url) as client:
        put_inputs(host.input_dir, await packed_latent(client, host.output_dir))
        for name, example in EXAMPLES.items():
            result = await client.run(few_steps(swap(example.graph.api(), example.family)))
            files = [io.BytesIO(await client.view(image)) for image in result.images["save"]]
            found[name] = [Image.open(file) for file in files]
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_and_saves_its_pictures(pictures: dict[str, list[Image.Image]], name: str) -> None:
    saved = pictures[name]
    assert len(saved) == (4 if name == "Samples of a training run" else 1)
    for picture in saved:
        if name in SHEETS:  # four to six cells beside one another, and a heading
            assert picture.width >= 4 * 64
            assert picture.height > 64
        else:
            assert picture.size == (64, 64)
        bands = picture.convert("RGB").getextrema()
        assert max(high for _, high in bands) - min(low for low, _ in bands) > 30  # not black, as pictures of NaN are


def test_what_was_loaded_is_in_the_picture(pictures: dict[str, list[Image.Image]]) -> None:
    """The graph takes the newest checkpoint; each saved file tells which that was and that all of it was used."""
    for picture in pictures["Samples of a training run"]:
        details: dict[str, Any] = json.loads(picture.info["eridiffusion_lora"])
        assert details["run"] == RUN
        assert details["file"] == f"{RUN}/flux_lora_1000steps.safetensors"
        assert json.loads(picture.info["eridiffusion"])["step"] == 1000
        assert [part["unmatched"] for part in details["parts"].values()] == [0] * len(details["parts"])
        assert sum(part["matched"] for part in details["parts"].values()) > 0
