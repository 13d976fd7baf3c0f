"""`eri rank`: which training step to take, by the votes of blind comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from . import options
from .shared import near, notes, out, reported, run_folder, show

if TYPE_CHECKING:
    from ..compare.ranking import Ranking


def rank(
    run: Annotated[Path, typer.Argument(help="Folder of a run's pictures, or of its checkpoints.", show_default=False)],
    votes: Annotated[
        list[Path] | None,
        typer.Option(help="Add the votes in this file, as a gallery saves them; may be repeated.", exists=True),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a chart: .svg or .png. Needs matplotlib.")] = None,
    tensorboard: options.TensorBoard = None,
    wandb: options.Wandb = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which training step to take, by the votes of blind comparisons, and how sure that is.

    Example: eri rank eri_samples/my_run --votes votes_of_anna.jsonl
    """
    from ..client.numbers import of_ranking
    from ..compare.collection import NAME_A_RUN
    from ..compare.ranking import rank as ranked
    from ..compare.votes import add_votes, read_votes, votes_file
    from ..errors import CompareError

    with reported(as_json):
        run = run_folder(run)
        path = votes_file(run)
        if not (run.is_dir() or path.is_file() or votes):
            raise CompareError("there is no such folder", place=str(run), remedy=NAME_A_RUN)
        for file in votes or ():
            added = add_votes(path, read_votes(file), _name(run, path))
            notes([f"{added} votes of {near(file)} were added to {near(path)}"])
        found = ranked(read_votes(path))
        if plot is not None and found.places:
            from ..client.plots import plot_ranking

            plot_ranking(found, plot)
        options.log_numbers(of_ranking(found), options.open_logs(tensorboard, wandb, _name(run, path), run))
    if as_json:
        show(found.to_dict())
        return
    _print(found)
    for name, own in found.voters.items():
        out.print(f"\n[bold]{escape(name or 'without a name')}[/]")
        _print(own)
    how = [] if found.votes else ["Vote in its gallery (eri gallery RUN --serve) or in the sidebar: Compare blind."]
    notes([*found.disagreements, *found.notes, *how])


def _name(run: Path, path: Path) -> str:
    """The run's name: as its votes have it, else as its pictures do, else the folder's."""
    from ..compare.collection import read_collection
    from ..compare.votes import read_votes
    from ..errors import CompareError

    for vote in read_votes(path):
        return vote.run
    try:
        return read_collection(run).name
    except CompareError:  # a folder of checkpoints, without pictures
        return run.name


def _print(found: Ranking) -> None:
    out.print(f"{found.answer} [dim]({found.votes} votes)[/]", highlight=False, soft_wrap=True)
    if not found.places:
        return
    table = Table("", "preferred", "95 % interval", "is the best", "won", "lost", "tied")
    for place in found.places:
        shares = f"{100 * place.preferred:.0f} %", f"{100 * place.low:.0f} – {100 * place.high:.0f} %"
        counts = map(str, (place.wins, place.losses, place.ties))
        table.add_row(escape(place.candidate.label), *shares, f"{100 * place.best:.0f} %", *counts)
    out.print(table)
