"""`eri spec`: what a trainer will sample."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from . import options
from .shared import notes, out, read_config, reported, show


def spec(
    file: options.ConfigFile,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what the trainer will sample, fully resolved, and every field of the config that has no part in it.

    Reads configs of EriDiffusion V1 (YAML) and V2 (JSON, command line),
    ai-toolkit, kohya sd-scripts, SimpleTuner, OneTrainer and musubi-tuner,
    kohya's and EriDiffusion V2's prompt files, and what --json writes.

    Example: eri spec train_flux.yaml
    Example: eri spec prompts.txt --trainer kohya --family sdxl
    Example: eri spec config.json --trainer eridiffusion-v2 --prompts prompts.txt
    """
    with reported(as_json):
        found = read_config(file, trainer, family, prompts, expand, wildcards)
    if as_json:
        show(found.to_dict())
        return
    kind = f"{found.family}{f' {found.variant}' if found.variant else ''}"
    every = f", every {found.sample_every} steps" if found.sample_every else ""
    out.print(f"[bold]{escape(found.name)}[/]  {kind}, {found.trainer}{every}, {len(found.items)} samples")
    table = Table("", "prompt", "negative", "size", "seed", "steps", "cfg", "guidance", "LoRA")
    for item in found.items:
        table.add_row(
            str(item.index), escape(item.prompt), escape(item.negative_prompt), f"{item.width}×{item.height}",
            "random" if item.seed is None else str(item.seed), str(item.steps), f"{item.cfg_scale:g}",
            "–" if item.guidance is None else f"{item.guidance:g}", f"{item.lora_scale:g}",
        )  # fmt: skip
    out.print(table)
    notes(found.notes)
    if found.ignored:
        notes([f"not used: {', '.join(found.ignored)}"])
