"""The plan of a sweep, told before it starts: what there is, what is to be made, and how long that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from ..compare.axes import shown
from ..compare.estimate import Estimate, estimate, spoken
from ..compare.manifest import read
from ..compare.pages import PROMPT, STEP, choose
from .sampling import Asked
from .shared import err, notes

if TYPE_CHECKING:
    from ..client.grid import Grid


def plan_of(grid: Grid, asked: Asked, url: str | None) -> dict[str, Any]:
    """A grid's plan as JSON types; raises CompareError.

    Args:
        url: The ComfyUI that will make it, None = one on this machine.
    """
    from ..client.jobs import worker_name
    from ..client.sheets import axis_values

    spec, steps = grid.spec, [-1 if step is None else step for step in grid.steps]
    values = axis_values(spec, steps, grid.variants)
    sheets = choose({axis: len(of) for axis, of in values.items()}, asked.rows, asked.columns)
    cells = len(grid.variants) * len(steps) * len(spec.items)
    there = len(grid.kept())
    guess = estimate(read(grid.root), worker_name(url), grid.sizes())
    return {
        "run": spec.name,
        "family": spec.family,
        "trainer": spec.trainer,
        "axes": values,
        "rows": sheets.rows,
        "columns": sheets.columns,
        "sheets": len(list(sheets.choices(values))),
        "cells": cells,
        "there": there,
        "same": cells - there - grid.images,
        "to_make": grid.images,
        "jobs": [{"step": job.step, "axes": dict(job.variant.values), "items": list(job.indices)} for job in grid.jobs],
        "estimate": None if guess is None else vars(guess),
        "notes": grid.notes,
        "folder": str(grid.root),
        "models": None if asked.models is None else str(asked.models),
    }


def print_plan(plan: dict[str, Any]) -> None:
    """Print a plan for people, to the error stream: the standard output is for what was made."""
    axes = plan["axes"]
    size = " × ".join(f"{len(of)} {axis}{'s' if len(of) != 1 else ''}" for axis, of in axes.items())
    err.print(f"[bold]{escape(plan['run'])}[/] ({plan['family']}): {escape(size)} = {plan['cells']} pictures")
    for axis, of in axes.items():
        if axis != PROMPT:
            _row(axis, ", ".join("newest" if axis == STEP and value == -1 else shown(value) for value in of))
    sheets = "a contact sheet" if plan["sheets"] == 1 else f"{plan['sheets']} contact sheets"
    _row("sheets", f"{sheets}, rows {plan['rows']}, columns {plan['columns']}")
    if plan["there"]:
        _row("there", str(plan["there"]))
    if plan["same"]:
        _row("the same", f"{plan['same']}: without LoRA its strength and its run change nothing")
    jobs = len(plan["jobs"])
    _row("to make", f"{plan['to_make']}, in {jobs} prompt{'s' if jobs > 1 else ''} for ComfyUI" if jobs else "nothing")
    if plan["to_make"]:
        _row("takes", _takes(plan["estimate"]))
    if plan["models"] is None:
        notes(["without --models ComfyUI's files are chosen by name, and what is there is counted again by them"])


def _takes(guess: dict[str, Any] | None) -> str:
    if guess is None:
        return "not known: no picture was made here before; the bar tells it after the first one"
    found = Estimate(**guess)
    how = "by their pixels and steps, " if found.scaled else ""
    return f"about {spoken(found.seconds)} on one ComfyUI ({how}as {found.known} pictures before)"


def _row(title: str, text: str) -> None:
    err.print(f"  {title:<9} {escape(text)}", highlight=False, soft_wrap=True)
