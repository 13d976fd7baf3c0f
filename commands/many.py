"""A sweep on several ComfyUIs: `--host A --host B`, or the workers of a Ray cluster with `--engine ray`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from . import interrupts
from .shared import err, notes

if TYPE_CHECKING:
    from ..client.grid import Grid
    from ..client.workers import PlanWith, Progress, Shared
    from .sampling import Asked


@dataclass(frozen=True)
class Several:
    """Where a sweep runs.

    Args:
        hosts: ComfyUIs that run already.
        ray: Whether they, or own ones where none is named, are reached through a Ray cluster.
        address: The cluster's.
        workers: How many of its own to start there.
    """

    hosts: Sequence[str]
    ray: bool = False
    address: str | None = None
    workers: int | None = None

    def sample(self, asked: Asked, timeout: float | None, quiet: bool) -> Shared:
        """Make what is asked for. Who is left out, and which pictures fail, is told at once; raises as `sample_on`."""
        said: list[str] = []

        def tell(sentence: str) -> None:
            said.append(sentence)
            if not quiet:
                notes([sentence])

        def plan(info: Mapping[str, Any]) -> Grid:
            from ..client.graphs import descriptions_at, models_among

            if asked.models is not None:
                return asked.plan(asked.models)
            described = None if self.ray else descriptions_at(*self.hosts)  # a cluster's are not reached from here
            chosen, choice = models_among(asked.spec, info, described)
            for sentence in choice:
                tell(sentence)
            return asked.plan(chosen)

        with _progress(asked.spec.name, quiet) as progress:
            shared = interrupts.run(self._sample(plan, asked.output, timeout, tell, progress))
        shared.grid.notes.extend(said if quiet else [])
        return shared

    async def _sample(
        self, plan: PlanWith, output: Path, timeout: float | None, tell: Callable[[str], None], progress: Progress
    ) -> Shared:
        from ..client.several_hosts import HostPlace
        from ..client.workers import sample_on

        if not self.ray:
            places = [HostPlace(url, output, timeout) for url in self.hosts]
            return await sample_on(places, plan, tell, progress)
        from ..client.ray_engine import ray_places
        from ..dev.local_host import own_host

        async with ray_places(self.address, self.hosts, self.workers, own_host, output, timeout) as workers:
            return await sample_on(workers, plan, tell, progress)


def several(hosts: list[str] | None, engine: str | None, address: str | None, workers: int | None) -> Several | None:
    """Where the options say that a sweep runs; None = on one ComfyUI, without Ray."""
    if engine not in (None, "ray"):
        raise typer.BadParameter("write 'ray', or leave it out", param_hint="--engine")
    for value, name in ((address, "--address"), (workers, "--workers")):
        if value is not None and engine is None:
            raise typer.BadParameter("goes with --engine ray", param_hint=name)
    if workers is not None and hosts:
        raise typer.BadParameter("each --host is one worker: leave one of the two out", param_hint="--workers")
    named = list(dict.fromkeys(hosts or ()))
    return Several(named, engine == "ray", address, workers) if engine or len(named) > 1 else None


@contextlib.contextmanager
def _progress(title: str, quiet: bool) -> Iterator[Progress]:
    """One bar over all workers."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn()),
        *(TextColumn("images · {task.fields[workers]} workers · left"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_interactive) as bar:
        task = bar.add_task(escape(title), total=None, workers=0)
        yield lambda made, total, workers: bar.update(task, completed=made, total=total, workers=workers)
