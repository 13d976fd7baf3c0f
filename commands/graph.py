"""`eri graph`: a config's graph as JSON."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .shared import notes, read_config, reported, show


class GraphForm(str, Enum):
    """Which JSON of a graph to write."""

    api = "api"
    ui = "ui"
    both = "both"


class GraphStyle(str, Enum):
    """Which nodes a graph is made of."""

    eri = "eri"
    stock = "stock"


def graph(
    file: options.ConfigFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of printing.")] = None,
    models: options.ModelsFile = None,
    run: Annotated[
        str | None,
        typer.Option(help="Run folder as ComfyUI lists it; with --style stock also a folder here, or a LoRA file."),
    ] = None,
    step: Annotated[int | None, typer.Option(min=0, help="Training step; 0 = no LoRA.", show_default="newest")] = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    form: Annotated[
        GraphForm, typer.Option("--format", help="api for /prompt, ui for the canvas, both in one document.")
    ] = GraphForm.api,
    style: Annotated[
        GraphStyle, typer.Option(help="eri: this pack's compact graph; stock: ComfyUI's own nodes only.")
    ] = GraphStyle.eri,
    batch: options.Batch = 1,
    host: Annotated[
        str | None, typer.Option("--host", help="A running ComfyUI: model files are chosen from what it offers.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the ComfyUI graph that samples a config as its trainer does.

    What is printed is the graph, with --json too; with -o then the file's name and the notes.

    Example: eri graph train_flux.yaml --run my_run --step 500 --format ui -o graph.json
    """
    from ..client.graphs import graph_document

    with reported(as_json):
        found = read_config(file, trainer, family, prompts, expand, wildcards)
        document, remarks = graph_document(found, models, run, step, form.value, style.value, host, batch)
        if output is not None:
            output.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if output is None:
        show(document)
    elif as_json:
        show({"file": str(output), "notes": remarks})
    notes(remarks)
