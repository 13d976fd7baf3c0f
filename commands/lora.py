"""`eri lora`: what a LoRA file or a run folder holds, and what of it a model would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from ..families import FAMILIES
from . import interrupts, options
from .shared import err, notes, out, reported, show


def lora(
    path: Annotated[Path, typer.Argument(help="A LoRA file, or a run folder.", show_default=False)],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|URL",
            help="A checkpoint or diffusion model, or a running ComfyUI: which weights change?",
            show_default="none",
        ),
    ] = None,
    convert: Annotated[
        Path | None,
        typer.Option(help="Write it here under names that ComfyUI's own LoRA loader knows.", show_default="none"),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help=f"{', '.join(FAMILIES)}.", show_default="from the file")
    ] = None,
    models: options.ModelsFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what is in a LoRA file and what of it a model would take, or which checkpoints a run folder holds.

    Only headers and the LoRA's own tensors are read. A file that cannot work is an error with the reason. A running
    ComfyUI loads the model that it would sample with and answers as its node LoRA at Step does.

    Example: eri lora output/my_run
    Example: eri lora flux_lora_step500.safetensors --against flux1-dev.safetensors
    Example: eri lora flux_lora_step500.safetensors --against http://127.0.0.1:8188
    Example: eri lora flux_lora_step500.safetensors --convert shared.safetensors
    """
    from ..client.describe import convert_lora, describe_lora

    with reported(as_json):
        if against is not None and against.startswith(("http://", "https://")):
            from ..client.lora_on_host import ask_host

            document = interrupts.run(ask_host(against, path, family, models))
        else:
            document = describe_lora(path, family, None if against is None else Path(against))
        if convert is not None:
            convert_lora(path, family, convert)
            err.print(f"written: {escape(str(convert))}", highlight=False, soft_wrap=True)
    if as_json:
        show(document)
    elif "report" in document:
        out.print(escape(document["report"]), highlight=False, soft_wrap=True)
    elif "checkpoints" in document:
        _print_run(document)
    else:
        _print_file(document)


def _print_run(document: dict[str, Any]) -> None:
    table = Table("step", "epoch", "run", "trainer", Column("file", overflow="fold"))
    for entry in document["checkpoints"]:
        step, epoch = ("?" if entry["step"] is None else entry["step"]), entry["epoch"]
        run = "" if entry["run"] is None else entry["run"]
        file = Path(entry["path"]).relative_to(document["folder"]).as_posix()
        cells = (step, "" if epoch is None else epoch, run, entry["trainer"], file)
        table.add_row(*(escape(str(cell)) for cell in cells))
    out.print(table if document["checkpoints"] else f"no LoRA checkpoints in {escape(document['folder'])}")


def _print_file(document: dict[str, Any]) -> None:
    scale = f", alpha {document['alpha']:g} (from: {document['alpha_source']})" if document["rank"] else ""
    facts = {
        "file": document["file"],
        "written by": f"{document['dialect']}, {document['family'] or 'text encoders only'}",
        "step": "unknown" if document["step"] is None else document["step"],
        "rank": f"{document['rank']}{scale}",
        "tensors": f"{document['tensors']} in {document['modules']} modules",
    }
    for name, value in facts.items():
        out.print(f"[bold]{name}[/]: {escape(str(value))}", highlight=False, soft_wrap=True)
    judged = "would load" if document["against"] else "keys"
    parts = Table("part", judged, "not known")
    for name, part in document["parts"].items():
        parts.add_row(name, str(part["matched"]), str(len(part["unmatched"])))
    out.print(parts)
    norms = Table("block group", "norm of the change")
    for group, norm in document["norms"].items():
        norms.add_row(group, f"{norm:.4g}")
    out.print(norms)
    for reason, keys in document["ignored"].items():
        out.print(f"left out, {escape(reason)}: {len(keys)}", highlight=False, soft_wrap=True)
    notes([*(f"WARNING: {warning}" for warning in document["warnings"]), *document["notes"]])
