"""Progress of a sweep for people, in rich's bars; needs the `cli` extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..compare.estimate import Pace, spoken
from ..protocol.events import Event, NodeStarted, StepProgress
from ..workflows import Workflow
from .sweep import Report, Tally

_LABELS = {
    "model": "loading the model",
    "clip": "loading the text encoders",
    "vae": "loading the VAE",
    "lora": "loading the LoRA",
    "positive": "encoding prompts",
    "negative": "encoding negatives",
    "decode": "decoding",
    "save": "saving",
}


def doing(event: NodeStarted | StepProgress, tally: Tally) -> str:
    """What a node of a generated graph does, in words; a sampler also at which picture and step of all."""
    words = _LABELS.get(event.node.rstrip("_0123456789"))
    if words is not None:
        return words
    if not isinstance(event, StepProgress):
        return "sampling"
    return f"picture {tally.picture} of {tally.items}, step {tally.done:g} of {tally.total}"


@contextmanager
def sweep_progress(console: Console, title: str, total: int, pace: Pace | None = None) -> Iterator[Report]:
    """One bar that counts `total` images, of one sweep or of several; yields the sweeps' report function.

    pace: Tells the time that is left.

    Only a terminal gets the bar: elsewhere it would be control characters, or one more line.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("images · {task.fields[now]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_interactive) as progress:
        task = progress.add_task(escape(title), total=total, now="queued", left="")
        done, gone = 0, 0.0
        tally: Tally | None = None

        def report(workflow: Workflow, event: Event | None) -> None:
            nonlocal done, gone, tally
            if event is None or tally is None:
                done, gone = (0, 0.0) if tally is None else (done + tally.items, gone + tally.work)
                tally = Tally(workflow)
                progress.update(task, completed=done, now="queued")
                return
            tally.feed(event)
            if isinstance(event, NodeStarted | StepProgress):
                progress.update(task, now=doing(event, tally))
            progress.update(task, completed=done + tally.items_done)
            if pace is not None:
                pace.at(gone + tally.work * tally.done / tally.total)
                left = pace.left()
                progress.update(task, left="" if left is None else f"{spoken(left)} left")

        yield report
        progress.update(task, completed=total, now="done", left="")
