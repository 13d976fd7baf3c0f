"""What all commands share: consoles, option types, errors as messages and exit codes, JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ..client.errors import HostError
from ..spec import SpecError
from ..spec.readers import TRAINERS
from ..workflows import WorkflowError

out = Console()
err = Console(stderr=True)

ConfigFile = Annotated[Path, typer.Argument(help="Training config, or a trainer's prompt file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Trainer = Annotated[
    str | None,
    typer.Option(help=f"Whose config it is: {', '.join(entry.id for entry in TRAINERS)}.", show_default="recognised"),
]
Prompts = Annotated[Path | None, typer.Option(help="Prompts file to take instead of the one the config names.")]
Family = Annotated[str | None, typer.Option(help="flux, sd35 or sdxl.", show_default="from the config")]
ModelsFile = Annotated[Path | None, typer.Option(help="YAML naming the base model's files or loader nodes.")]
Run = Annotated[str | None, typer.Option(help="Run folder: a path, or a name below the host's loras folders.")]
HostUrl = Annotated[
    str | None,
    typer.Option("--host", help="A running ComfyUI, e.g. http://127.0.0.1:8188.", show_default="a local one"),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for images, in the trainer's layout.")]

Again = Annotated[bool, typer.Option("--again", help="Make images anew that are there already.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=1, help="Seconds for one training step, restarts of the host included.", show_default="as long as it takes"
    ),
]


def fail(error: Exception) -> NoReturn:
    """Print an error as people read it and end with its exit code: 1 for the host's, 2 for the input's."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if isinstance(error, HostError | OSError) else 2)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn the package's errors into messages and exit codes."""
    from ..images.errors import ImagesError
    from ..lora.errors import LoraError

    try:
        yield
    except (SpecError, WorkflowError, HostError, LoraError, ImagesError, OSError) as error:
        fail(error)


def notes(lines: list[str] | tuple[str, ...]) -> None:
    """Print notes, one per line, to the error stream."""
    for line in lines:
        err.print(f"[yellow]note:[/] {escape(line)}", highlight=False, soft_wrap=True)


def show(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
