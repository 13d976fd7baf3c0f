"""One sweep on several ComfyUIs at once: the scheduler gives out its jobs; who is not fit or is lost is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from ..compare.scheduler import Cell, Scheduler
from ..errors import HostError
from .failures import Content, Part, is_gone, named, no_checkpoint, not_made, of_the_pictures, replaced
from .grid import Grid, Job, Made, Recipe
from .jobs import JobDone, made_by

#: Kinds that are the worker's: it is gone, hangs, or is no longer what it was.
_OF_THE_WORKER: Final = ("down", "lost", "timeout", "missing_node", "validation", "protocol")

#: Told a sentence about a worker, or about pictures that could not be made.
Tell = Callable[[str], None]
#: Told how many pictures are made, of how many, on how many workers.
Progress = Callable[[int, int, int], None]
#: Told how many pictures of a job are made so far.
SoFar = Callable[[int], None]
#: Plans the sweep, with what the first ComfyUI that answers offers (`/object_info`).
PlanWith = Callable[[Mapping[str, Any]], Grid]


class Place(Protocol):
    """A ComfyUI and the way to it; every method raises HostError where it is not (or no longer) fit."""

    name: str

    async def open(self) -> Mapping[str, Any]:
        """Start or reach it; its `/object_info`."""

    async def prepare(self, grid: Grid) -> None:
        """Bring what all jobs need, and raise HostError where a graph could not run there."""

    async def do(self, recipe: Recipe, job: Job, so_far: SoFar) -> JobDone:
        """Do a job as `jobs.do_job` does; cancelling it cancels its prompt."""

    async def close(self) -> None:
        """Let go of it, and end what was started."""


class Shared(NamedTuple):
    """What several workers made, the grid that they worked at, and ComfyUI's version (several: joined by commas)."""

    grid: Grid
    made: Made
    version: str | None


async def sample_on(places: Sequence[Place], plan: PlanWith, tell: Tell, progress: Progress) -> Shared:
    """Do the jobs of a grid on several ComfyUIs, each from the moment that it answers; all are let go of at the end.

    Cancelling this cancels what runs on every one, and waits for that.

    Args:
        plan: Called once, when the first of them answers.
        tell: Told who is left out and why, and which pictures failed; all others are made.

    Raises HostError where none is fit, naming each, and, once all others are made, for pictures that could not be made;
    WorkflowError, CompareError, OSError.
    """
    work = _Work(plan, tell, progress)
    try:
        await work.through(places)
    finally:
        await asyncio.gather(*(place.close() for place in places), return_exceptions=True)
    return work.result()


class _Work:
    """The jobs of one grid, and the workers that do them."""

    def __init__(self, plan: PlanWith, tell: Tell, progress: Progress) -> None:
        self._plan, self._tell, self._progress = plan, tell, progress
        self._grid: Grid | None = None
        self._scheduler = Scheduler(())
        self._made: Made = {}
        self._contents: list[Content] = []
        self._fit = 0
        self._begun: dict[str, int] = {}
        self._done = 0
        self._versions: set[str] = set()
        self._opening: set[asyncio.Future[None]] = set()
        self._changed = asyncio.Event()
        self._trouble: list[str] = []

    async def through(self, places: Sequence[Place]) -> None:
        """Do all of it; raises as `sample_on`."""
        tasks = [asyncio.ensure_future(self._serve(place)) for place in places]
        self._opening.update(tasks)
        await _together(tasks)
        trouble = " ".join(dict.fromkeys(self._trouble))
        if not self._fit:
            raise HostError(f"No worker can make these pictures. {trouble}", kind="down")
        notes = replaced(self._planned(), self._contents)
        left = [*self._scheduler.failures(), *self._scheduler.unfinished()]
        if left:
            raise not_made(self._parts(left), [*self._trouble, *notes])
        self._planned().notes.extend(notes)

    def result(self) -> Shared:
        """What was made."""
        return Shared(self._planned(), self._made, ", ".join(sorted(self._versions)) or None)

    def _planned(self) -> Grid:
        if self._grid is None:
            raise RuntimeError("no worker has answered")
        return self._grid

    async def _serve(self, place: Place) -> None:
        """Open a worker, and do jobs on it until all are done or it is lost."""
        try:
            info = await place.open()
            if self._grid is None:
                self._begin(self._plan(info))
            if self._planned().jobs:
                await place.prepare(self._planned())
        except HostError as error:
            self._say(f"{place.name} is left out: {error}")
            return
        self._opening.discard(asyncio.current_task())
        self._fit += 1
        self._scheduler.join(place.name)
        while not self._scheduler.finished:
            cells = self._scheduler.take(place.name)
            if cells:
                if not await self._try(place, cells):
                    return
                continue
            self._changed.clear()
            await self._changed.wait()
        for late in self._opening:
            late.cancel()

    def _begin(self, grid: Grid) -> None:
        grid.record_kept()
        self._grid = grid
        self._scheduler = Scheduler(
            Cell((number, index), (grid.recipe.run(job.variant), job.step, job.variant.key, number))
            for number, job in enumerate(grid.jobs)
            for index in job.indices
        )

    async def _try(self, place: Place, cells: Sequence[Hashable]) -> bool:
        """Have a worker make these cells; whether it is still there."""
        try:
            await self._do(place, cells)
        except HostError as error:
            if of_the_pictures(error) and (not no_checkpoint(error) or is_gone(*self._job(cells))):
                self._scheduler.failed(place.name, cells)
                self._say(f"{self._named(cells)} failed on {place.name}: {error}")
            elif error.kind in _OF_THE_WORKER:
                self._lose(place.name, error)
                return False
            else:
                raise
        finally:
            self._count(place.name, 0)
            self._changed.set()
        return True

    async def _do(self, place: Place, cells: Sequence[Any]) -> None:
        recipe, job = self._job(cells)
        done = await place.do(recipe, job, partial(self._count, place.name))
        if counted := self._scheduler.done(place.name, cells):
            self._done += len(counted)
            self._made |= made_by(job, done)
            self._contents += done.contents(job)
            self._versions |= {line.comfyui for line in done.lines if line.comfyui}

    def _job(self, cells: Sequence[Any]) -> tuple[Recipe, Job]:
        """What makes some cells of one job."""
        grid = self._planned()
        return grid.recipe, replace(grid.jobs[cells[0][0]], indices=tuple(index for _, index in cells))

    def _count(self, name: str, so_far: int) -> None:
        """A worker has made so many pictures of the job that it is at."""
        self._begun[name] = so_far
        self._progress(self._done + sum(self._begun.values()), self._planned().images, len(self._scheduler.workers))

    def _lose(self, name: str, error: HostError) -> None:
        given_up = self._scheduler.lost(name)
        self._say(f"{name} is left out from now on: {error}")
        if given_up:
            self._say(f"{self._named(given_up)} is given up: a worker was lost each time that it was tried.")

    def _say(self, sentence: str) -> None:
        self._trouble.append(sentence)
        self._tell(sentence)

    def _named(self, cells: Sequence[Any]) -> str:
        """Pictures as people know them."""
        return named(self._parts(cells))

    def _parts(self, cells: Sequence[Any]) -> list[Part]:
        found: dict[int, list[int]] = {}
        for number, index in cells:
            found.setdefault(number, []).append(index)
        return [(self._planned().jobs[number], indices) for number, indices in found.items()]


async def _together(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for all tasks; when one fails, or this is cancelled, the others are cancelled and waited for."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
            raise error
