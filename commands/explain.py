"""`eri explain`: what of a config's samples matches the trainer, and how far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Column, Table

from ..spec import read_spec
from . import options
from .shared import notes, out, reported, show

if TYPE_CHECKING:
    from ..workflows.parity import Match

_COLOURS: Final = {
    "exact": "green",
    "close": "yellow",
    "as its source says": "yellow",
    "as documented": "yellow",
    "different": "red",
    "not checked": "red",
}


def explain(
    file: options.ConfigFile,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    as_json: options.AsJson = False,
) -> None:
    """Show how far samples match the trainer: what was run beside it, what was only read, what differs and why.

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
    table = Table(Column("topic", no_wrap=True), Column("match", no_wrap=True), Column("here", overflow="fold"))
    for match in matches:
        table.add_row(match.topic, f"[{_COLOURS[match.kind]}]{match.kind}[/]", _told(match))
    out.print(table)
    notes(found.notes)


def _told(match: Match) -> str:
    """What is here, then the largest difference and the tests that hold it, each on a line of its own."""
    lines = [escape(match.detail)]
    if match.difference:
        lines.append(f"[dim]largest difference:[/] {escape(match.difference)}")
    if match.checked:
        lines.append(f"[dim]held by:[/] {escape(match.checked)}")
    return "\n".join(lines)
