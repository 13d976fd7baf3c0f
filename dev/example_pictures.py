"""The files of `example_workflows/`: each graph's JSON, and a picture made by running it on the small example models.

`python dev/tasks.py example-workflows` writes them anew. The graphs name real model files; for the picture only what
depends on the models is exchanged: loader nodes, the LoRA run with its trigger word, and the size, which the small
models have 16 times less of.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml
from PIL import Image, ImageDraw

from ..client.host_client import HostClient
from ..families import FLUX
from ..images.sheet import contact_sheet
from ..lora import find_checkpoints
from .example_graphs import TRIGGER, Example, examples
from .local_host import LocalHost

ROOT: Final = Path(__file__).absolute().parent.parent
FOLDER: Final = ROOT / "example_workflows"
MODELS: Final = ROOT / "examples" / "models"
RUNS: Final = ROOT / "examples" / "runs"
RUN: Final = "flux_zorp"
#: The word that this run teaches.
_TAUGHT: Final = "zorp"

#: The small models' pictures are this many times smaller than the graphs'.
SHRINK: Final = 16
#: Loader class -> what each of its outputs gives.
_LOADERS: Final = {
    "CheckpointLoaderSimple": ("model", "clip", "vae"),
    "UNETLoader": ("model",),
    "DualCLIPLoader": ("clip",),
    "TripleCLIPLoader": ("clip",),
    "VAELoader": ("vae",),
}

Prompt = dict[str, dict[str, Any]]


def swap(prompt: Mapping[str, Mapping[str, Any]], family: str) -> Prompt:
    """The API graph `prompt` for the small models of `family`: other loaders, run, trigger word and size, no more."""
    loaders = yaml.safe_load((MODELS / f"{family}.yaml").read_text(encoding="utf-8"))["loaders"]
    swapped: Prompt = {
        f"small_{part}": {"class_type": entry["class_type"], "inputs": dict(entry["inputs"])}
        for part, entry in loaders.items()
    }
    parts = {
        node_id: _LOADERS[node["class_type"]] for node_id, node in prompt.items() if node["class_type"] in _LOADERS
    }
    for node_id, node in prompt.items():
        if node_id in parts:
            continue
        swapped[node_id] = deepcopy(dict(node))
        for name, value in node["inputs"].items():
            swapped[node_id]["inputs"][name] = _input(name, value, parts, loaders)
    return swapped


def _input(name: str, value: Any, parts: Mapping[str, Sequence[str]], loaders: Mapping[str, Any]) -> Any:
    if isinstance(value, list) and value[0] in parts:
        part = parts[value[0]][value[1]]
        return [f"small_{part}", loaders[part].get("output", 0)]
    if name == "run" and value == "my_run":
        return RUN
    if name in ("width", "height") and isinstance(value, int):
        return value // SHRINK
    if isinstance(value, str):
        value = value.replace(TRIGGER, _TAUGHT)
    if name == "config" and isinstance(value, str):
        return re.sub(r'("(?:width|height)": )(\d+)', lambda found: f"{found[1]}{int(found[2]) // SHRINK}", value)
    return value


def put_inputs(folder: Path, latent: bytes) -> None:
    """Write the files that the graphs read from the host's input folder.

    latent: a file of SaveLatent with Flux latents of a 64 x 64 picture; it is packed as a trainer would.
    """
    from safetensors.torch import load, save_file

    from ..samplers.flux_latents import patchify

    start_picture().save(folder / "example.png")
    latents = load(latent)["latent_tensor"].float()
    in_model = (latents - 0.1159) * 0.3611  # Flux' latent format: what the model sees
    save_file({"tokens": patchify(in_model).tokens.contiguous()}, folder / "packed_latents.safetensors")


def start_picture() -> Image.Image:
    """What image to image starts from: a red circle on blue, drawn."""
    picture = Image.new("RGB", (256, 256), (40, 60, 220))
    ImageDraw.Draw(picture).ellipse((60, 60, 196, 196), fill=(220, 40, 40))
    return picture.resize((64, 64), Image.Resampling.LANCZOS)


async def packed_latent(client: HostClient, output: Path) -> bytes:
    """Sample the Flux example and return the latent as SaveLatent writes it. output: the host's output folder."""
    example = next(example for example in examples() if example.name == "Flux dev")
    prompt = swap(example.graph.api(), FLUX.id)
    for node in ("decode", "save"):
        del prompt[node]
    prompt["latents"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["sample", 0], "filename_prefix": "latents/example"},
    }
    await client.run(prompt)
    newest = max((output / "latents").glob("example*.latent"), key=lambda path: path.stat().st_mtime)
    return newest.read_bytes()


async def render(client: HostClient, example: Example) -> list[Image.Image]:
    """Run an example on the small models; its pictures, those of a sheet of one row one by one with their labels."""
    prompt = swap(example.graph.api(), example.family)
    sheet = prompt.get("sheet")
    if sheet and sheet["inputs"]["rows"]:  # a grid is shown as the sheet it is
        sheet = None
    if sheet:
        prompt["save"]["inputs"]["images"] = sheet["inputs"]["images"]
    result = await client.run(prompt)
    pictures = [Image.open(io.BytesIO(await client.view(image))).convert("RGB") for image in result.images["save"]]
    if not sheet:
        return pictures
    columns = sheet["inputs"]["columns"]
    steps = (checkpoint.step for checkpoint in find_checkpoints(RUNS / RUN))
    labels = columns.splitlines() if isinstance(columns, str) else [f"step {step}" for step in steps]
    return [contact_sheet([picture], columns=[label]) for picture, label in zip(pictures, labels, strict=True)]


def thumbnail(pictures: Sequence[Image.Image], side: int = 360) -> Image.Image:
    """The pictures in rows, as nearly square as they can be laid: a template's card is a square. `side`: its width."""
    columns = math.ceil(len(pictures) ** 0.5)
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    card = Image.new("RGB", (width * columns, height * math.ceil(len(pictures) / columns)), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        card.paste(picture, (column * width, row * height))
    return card.resize((side, round(side * card.height / card.width)), Image.Resampling.LANCZOS)


def write_graphs(folder: Path) -> None:
    """Write every example's JSON, and remove what is no example any more."""
    folder.mkdir(parents=True, exist_ok=True)
    found = examples()
    for path in [*folder.glob("*.json"), *folder.glob("*.jpg")]:
        if path.stem not in {example.name for example in found}:
            path.unlink()
    for example in found:
        text = json.dumps(example.ui(), ensure_ascii=False, separators=(",", ":"))
        (folder / f"{example.name}.json").write_text(text + "\n", encoding="utf-8")


async def write_pictures(url: str, output: Path, inputs: Path, folder: Path, names: Sequence[str] = ()) -> None:
    """Run the examples (only those in `names`, if any) on the host at `url`; write their pictures beside their JSON."""
    async with HostClient(url) as client:
        put_inputs(inputs, await packed_latent(client, output))
        for example in examples():
            if names and example.name not in names:
                continue
            picture = thumbnail(await render(client, example))
            picture.save(folder / f"{example.name}.jpg", quality=60, optimize=True, progressive=True)
            sys.stderr.write(f"  {example.name}.jpg\n")
            sys.stderr.flush()


def main() -> None:
    """Write all graphs, and all pictures or those named; with --graphs no pictures."""
    write_graphs(FOLDER)
    names = sys.argv[1:]
    if names == ["--graphs"]:
        return
    with LocalHost() as host:
        asyncio.run(write_pictures(host.url, host.output_dir, host.input_dir, FOLDER, names))


if __name__ == "__main__":
    main()
