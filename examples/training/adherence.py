"""Measure on a real ComfyUI host whether the example models draw what the prompt says: `make adherence`.

Held-out prompts per family, sampled through the pack's own graphs at the demo's settings; and each run's trigger word
without LoRA and at every saved training step. Colour, shape and background are checked by `checker`, which uses no
model and is itself validated first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.runs import host_run_name, steps_in
from comfyui_eridiffusion.client.sweep import fetch, sweep
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, read_spec

from . import checker, domain

log = logging.getLogger(__name__)

EXAMPLES = Path(__file__).resolve().parent.parent
FAMILIES = ("flux", "sd35", "sdxl")
FIRST_SEED = 100_000


@dataclass(frozen=True)
class Score:
    """Shares of the prompts of one measurement, 0..1."""

    count: int
    right: float
    colour: float
    shape: float
    background: float


def spec_of(family: str, scenes: Sequence[domain.Scene], name: str) -> SampleSpec:
    """The family's demo config, size, steps and guidance included, with these scenes as its samples, one seed each."""
    config = read_spec(EXAMPLES / "configs" / f"{family}.yaml")
    model: SampleItem = config.items[0]
    items = [
        replace(model, index=index, prompt=scene.prompt, seed=FIRST_SEED + index) for index, scene in enumerate(scenes)
    ]
    return replace(config, items=items, name=name, notes=[], ignored=[])


def score(pictures: Sequence[Path], scenes: Sequence[domain.Scene]) -> Score:
    """Check saved pictures against their scenes."""
    found = []
    for path in pictures:
        with Image.open(path) as picture:
            array = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0
        found.append(checker.look(torch.from_numpy(array).permute(2, 0, 1)))
    pairs = list(zip(found, scenes, strict=True))
    count = len(pairs)
    return Score(
        count=count,
        right=sum(f.matches(s) for f, s in pairs) / count,
        colour=sum(f.colour == s.colour for f, s in pairs) / count,
        shape=sum(f.shape == s.shape for f, s in pairs) / count,
        background=sum(f.background == s.background for f, s in pairs) / count,
    )


async def measure(url: str, output: Path, family: str, prompts: int, trigger_prompts: int) -> dict[str, Any]:
    """Base adherence on held-out prompts, and the trigger word's over the training steps."""
    models = EXAMPLES / "models" / f"{family}.yaml"
    run = EXAMPLES / "runs" / read_spec(EXAMPLES / "configs" / f"{family}.yaml").name
    word = run.name.split("_")[1]
    scenes = spread(domain.held_out_scenes(), prompts)
    new = spread(trigger_scenes(word), trigger_prompts)
    result: dict[str, Any] = {"family": family, "run": run.name, "steps": {}}
    async with HostClient(url) as client:
        started = time.monotonic()
        spec = spec_of(family, scenes, f"adherence_{family}")
        done = await sweep(client, spec, [0], models=models)
        files = await fetch(client, done, output, output)
        result["held_out"] = vars(score([files[image] for image in done.images], scenes))
        result["seconds_per_image"] = round((time.monotonic() - started) / len(scenes), 3)
        log.info("%s held-out: %s", family, result["held_out"])
        name = await host_run_name(client, str(run))
        for step in [0, *(s for s in steps_in(str(run)) if s > 0)]:
            spec = spec_of(family, new, f"adherence_{run.name}")
            done = await sweep(client, spec, [step], models=models, run=name)
            files = await fetch(client, done, output, output)
            result["steps"][step] = vars(score([files[image] for image in done.images], new))
            log.info("%s %s at step %d: %s", family, word, step, result["steps"][step])
    return result


def trigger_scenes(word: str) -> list[domain.Scene]:
    """The colour-background pairs of the new word that its LoRA was not trained on, in the three size wordings."""
    pairs = domain.held_out_pairs()
    return [s for s in domain.trigger_scenes(word) if (s.colour, s.background) in pairs]


def spread(scenes: list[domain.Scene], count: int) -> list[domain.Scene]:
    """`count` of the scenes, evenly spread; all of them when there are fewer."""
    if count >= len(scenes):
        return scenes
    return [scenes[i * len(scenes) // count] for i in range(count)]


def table(results: Sequence[dict[str, Any]], validated: dict[str, float]) -> str:
    """The figures as Markdown, as they stand in the README."""
    lines = [
        f"Checker on {int(validated['count'])} drawn pictures: {validated['truth']:.1%} right, "
        f"{validated['mismatched']:.1%} of mismatched prompts accepted.",
        "",
        "| family | held-out prompts | all three right | colour | shape | background |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        s = result["held_out"]
        lines.append(
            f"| {result['family']} | {s['count']} | {s['right']:.1%} | {s['colour']:.1%} | {s['shape']:.1%} "
            f"| {s['background']:.1%} |"
        )
    lines += [
        "",
        "| run | " + " | ".join("no LoRA" if s == 0 else f"step {s}" for s in results[0]["steps"]) + " |",
        "|---|" + "---|" * len(results[0]["steps"]),
    ]
    for result in results:
        lines.append(f"| {result['run']} | " + " | ".join(f"{s['right']:.0%}" for s in result["steps"].values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Start a host, measure, print the table and write `adherence.md` and `adherence.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=96, help="held-out prompts per family")
    parser.add_argument("--trigger-prompts", type=int, default=48, help="prompts per training step of a run")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--output", type=Path, default=EXAMPLES.parent / ".workspace" / "adherence")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = options.output.absolute()
    validated = checker.validate()
    log.info("checker: %s", validated)
    with LocalHost(output_dir=output / "images") as host:
        results = [
            asyncio.run(measure(host.url, output / "images", family, options.prompts, options.trigger_prompts))
            for family in options.families.split(",")
        ]
    (output / "adherence.json").write_text(json.dumps({"checker": validated, "families": results}, indent=1) + "\n")
    text = table(results, validated)
    (output / "adherence.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
