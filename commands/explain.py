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
    from ..workflows.verdict import Verdict

_COLOURS: Final = {
    "exact": "green",
    "close": "yellow",
    "as its source says": "yellow",
    "as documented": "yellow",
    "different": "red",
    "not checked": "red",
}
_OUTCOMES: Final = {
    "same picture": "green",
    "close": "yellow",
    "expected the same": "yellow",
    "expected close": "yellow",
    "different": "red",
    "not checked": "red",
}


def explain(
    file: options.ConfigFile,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    models: options.ModelsFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Say how the pictures will compare with the trainer's, then how each part of it was checked.

    Example: eri explain train_flux.yaml
    """
    from ..workflows.models import instead_of, read_models
    from ..workflows.parity import explain as matches_of
    from ..workflows.verdict import verdict

    with reported(as_json):
        found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
        instead = [] if models is None else instead_of(read_models(models, found)[0], found)
        matches = matches_of(found, instead)
    told = verdict(found, matches)
    if as_json:
        matched = [match.to_dict() for match in matches]
        document = {"trainer": found.trainer, "family": found.family, "verdict": told.to_dict()}
        show({**document, "matches": matched, "notes": [*instead, *found.notes]})
        return
    for sentence in instead:
        out.print(f"[red]{escape(sentence)}[/]")
    out.print(f"[bold]{escape(found.name)}[/]  {found.family}, as {found.trainer} samples it")
    print_verdict(told)
    table = Table(Column("topic", no_wrap=True), Column("match", no_wrap=True), Column("here", overflow="fold"))
    for match in matches:
        table.add_row(match.topic, f"[{_COLOURS[match.kind]}]{match.kind}[/]", _told(match))
    out.print(table)
    notes(found.notes)


def print_verdict(told: Verdict) -> None:
    """Print how the pictures will compare, and a line for each cause."""
    out.print(f"[bold {_OUTCOMES[told.outcome]}]{escape(told.text)}[/]", highlight=False, soft_wrap=True)
    for reason in told.reasons:
        if reason.text:
            out.print(f"  {', '.join(reason.topics)}: {escape(reason.text)}", highlight=False, soft_wrap=True)


def _told(match: Match) -> str:
    """What is here, then the largest difference and the tests that hold it, each on a line of its own."""
    lines = [escape(match.detail)]
    if match.difference:
        lines.append(f"[dim]largest difference:[/] {escape(match.difference)}")
    if match.checked:
        lines.append(f"[dim]held by:[/] {escape(match.checked)}")
    return "\n".join(lines)
