"""Progress of a sweep for people, in rich's bars; needs the `cli` extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..workflows import Workflow
from .events import Event, NodeStarted
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


@contextmanager
def sweep_progress(console: Console, title: str, steps: int, items: int) -> Iterator[Report]:
    """One bar that counts images of `steps` training steps × `items` prompts; yields the sweep's report function."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("images · {task.fields[now]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(title), total=steps * items, now="queued")
        tallies: dict[int, Tally] = {}

        def report(number: int, workflow: Workflow, event: Event | None) -> None:
            if event is None:
                tallies[number] = Tally(workflow)
                progress.update(task, completed=number * items, now="queued")
                return
            tally = tallies[number]
            tally.feed(event)
            if isinstance(event, NodeStarted):
                now = _LABELS.get(event.node.rstrip("_0123456789"), "sampling")
                progress.update(task, now=now)
            progress.update(task, completed=number * items + tally.items_done)

        yield report
        progress.update(task, completed=steps * items, now="done")
