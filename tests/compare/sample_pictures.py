"""Pictures as Save Samples leaves them: the trainer's file names, and the record inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui_eridiffusion.spec import SampleItem, SampleSpec

PROMPTS = ("a red fox", "a harbour at dawn", "a glass of water")


def spec_of(prompts: tuple[str, ...] = PROMPTS, name: str = "my_run") -> SampleSpec:
    items = [SampleItem(index, prompt, 96, 64, 4, seed=40 + index) for index, prompt in enumerate(prompts)]
    return SampleSpec("flux", "eridiffusion", items, name=name, layout="eridiffusion")


def picture(root: Path, spec: SampleSpec, step: int, index: int, key: str = "", seed: int | None = None) -> Path:
    """One picture of a sample below the run's folder; `seed` is another than the config's."""
    item = next(item for item in spec.items if item.index == index)
    item = item if seed is None else replace(item, seed=seed)
    facts = {"run": spec.name, "trainer": spec.trainer, "family": spec.family, "step": step}
    info = PngInfo()
    info.add_text("eridiffusion", json.dumps({**facts, **vars(item)}))
    info.add_text("eridiffusion_spec", json.dumps(replace(spec, items=[item]).to_dict()))
    path = root / key / f"samples_step_{step:06}" / f"step_{step:06}_sample_{index:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (40 + 60 * (index % 4), 30 + (step // 4) % 200, 200 - 30 * (index % 6))
    Image.new("RGB", (item.width, item.height), colour).save(path, pnginfo=info)
    return path


def run_of_pictures(root: Path, spec: SampleSpec, steps: tuple[int, ...], keys: tuple[str, ...] = ("",)) -> Path:
    for key in keys:
        for step in steps:
            for item in spec.items:
                picture(root, spec, step, item.index, key)
    return root
