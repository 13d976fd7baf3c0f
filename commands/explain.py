"""`eri explain`: what of a config's samples matches the trainer, and how far."""

from __future__ import annotations

from typing import Final

from rich.markup import escape
from rich.table import Table

from ..spec import read_spec
from .shared import AsJson, ConfigFile, Family, Prompts, Trainer, notes, out, reported, show

_COLOURS: Final = {"exact": "green", "close": "yellow", "different": "red"}


def explain(
    file: ConfigFile, trainer: Trainer = None, family: Family = None, prompts: Prompts = None, as_json: AsJson = False
) -> None:
    """Show what matches the trainer exactly, what is close (with a figure), and what differs and why.

    Example: eri explain train_flux.yaml
    """
    from ..workflows.parity import explain as matches_of

    with reported(as_json):
        found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
        matches = matches_of(found)
    if as_json:
        matched = [match.to_dict() for match in matches]
        show({"trainer": found.trainer, "family": found.family, "matches": matched, "notes": found.notes})
        return
    out.print(f"[bold]{escape(found.name)}[/]  {found.family}, as {found.trainer} samples it")
    table = Table("topic", "match", "here", "largest difference", "checked against")
    for match in matches:
        figure = "–" if match.figure is None else f"{match.figure:.2g} {match.unit}".strip()
        kind = f"[{_COLOURS[match.kind]}]{match.kind}[/]"
        table.add_row(match.topic, kind, escape(match.detail), figure, match.checked or "–")
    out.print(table)
    notes(found.notes)
