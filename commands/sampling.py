"""What `eri sample`, `eri sweep` and `eri verify` share: a grid is planned, a ComfyUI makes what is missing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from ..compare.axes import PLAIN, Variant
from ..spec import SampleSpec
from ..workflows.models import Models
from . import interrupts
from .hosts import open_host
from .many import Several
from .shared import err, near, notes, out, show

if TYPE_CHECKING:
    from ..client.grid import Grid, Made


@dataclass(frozen=True)
class Asked:
    """What is to be sampled.

    Args:
        steps: Training steps; 0 is without LoRA, None the newest checkpoint.
        runs: The run of each value of the axis `run`, of "" where it is no axis.
        models: YAML file of the base model, None = chosen among ComfyUI's files.
        output: Folder of all runs' pictures.
        again: Whether pictures that are there are made anew.
        batch: The most samples to denoise at once.
        sheet: File name of the contact sheet, None = there is none.
        rows, columns: Axes of the sheet, None = chosen.
        notes: What is to be told with the others.
    """

    spec: SampleSpec
    steps: Sequence[int | None]
    runs: Mapping[str, str | None]
    models: Path | None
    output: Path
    variants: Sequence[Variant] = (PLAIN,)
    again: bool = True
    batch: int = 1
    sheet: str | None = None
    rows: str | None = None
    columns: str | None = None
    notes: Sequence[str] = ()

    def plan(self, models: Models) -> Grid:
        """The plan with these models; raises WorkflowError."""
        from ..client.grid import plan_grid

        grid = plan_grid(
            self.spec, self.steps, self.output.absolute(), self.variants, models=models, runs=self.runs,
            again=self.again, batch=self.batch,
        )  # fmt: skip
        grid.notes.extend(self.notes)
        return grid


def sample_steps(
    found: SampleSpec, steps: list[int | None], run: str | None, models: Path | None, url: str | None, output: Path,
    *, batch: int, timeout: float | None, quiet: bool, again: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Sample the steps of one run on a host, unless all is there already; returns what was written, as JSON types."""
    asked = Asked(found, steps, {"": run}, models, output, again=again, batch=batch)
    return make(asked, asked.plan(models), url, timeout=timeout, quiet=quiet)


def make(
    asked: Asked, grid: Grid, where: str | Several | None, *, timeout: float | None, quiet: bool
) -> dict[str, Any]:
    """Make what a grid lacks on a host (None: one of this machine) or on several; what is there then, as JSON types."""
    from ..client.graphs import models_offered
    from ..client.jobs import document_of, sample_grid, worker_name
    from ..client.saving import check_folder

    check_folder(grid.root)
    made: Made = {}
    version = None
    if not grid.jobs:
        grid.record_kept()
    elif isinstance(where, Several):
        grid, made, version = where.sample(asked, timeout, quiet)
    else:
        with open_host(where, asked.output, asked.runs.values(), quiet=quiet) as (address, local_output):
            if asked.models is None:
                chosen, choice = interrupts.run(models_offered(address, asked.spec))
                grid = asked.plan(chosen)
                if quiet:
                    grid.notes.extend(choice)
                else:  # at once: should the host refuse the graph, they say what it lacks and where to get it
                    notes(choice)
            console, name = None if quiet else err, worker_name(where)
            work = sample_grid(address, grid, asked.output, local_output, console, name=name, timeout=timeout)
            made, version = interrupts.run(work)
    document = document_of(grid, made, asked.sheet, asked.rows, asked.columns)
    return {**document, "comfyui": version}


def print_images(document: dict[str, Any], as_json: bool) -> None:
    """Print what `make` returned."""
    if as_json:
        show(document)
        return
    for path in dict.fromkeys(image["path"] for image in document["images"]):
        out.print(escape(near(Path(path))), highlight=False, soft_wrap=True)
    kept = len({image["path"] for image in document["images"] if image["kept"]})
    if kept:
        err.print(f"{kept} of these images were there already (--again makes them anew)", highlight=False)
    for sheet in document.get("sheets", [document["sheet"]] if document["sheet"] else []):
        out.print(f"[bold]contact sheet[/] {escape(near(Path(sheet)))}", highlight=False, soft_wrap=True)
    notes(document["notes"])
