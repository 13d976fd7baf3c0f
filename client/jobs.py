"""The work behind `eri sample` and `eri sweep`: ComfyUI does a grid's jobs, pictures come into a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..compare.estimate import Pace, estimate, work
from ..compare.manifest import ManifestLine, append, read
from ..errors import HostError
from ..images.inner_texts import read_texts
from ..protocol.events import PICTURES, Event, Executed
from ..protocol.graph_marks import saver_marks
from ..workflows import Workflow
from .control_images import upload
from .failures import Content, named, not_made, of_the_pictures, replaced
from .grid import Grid, Job, Made, Recipe, line_of, utc
from .host_client import HostClient
from .runs import host_run_name
from .sample_records import checkpoint_of, samples_root, sigmas_of
from .sheets import write_sheets
from .sweep import Report, fetch, sample_step

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class JobDone:
    """What a job gave. pictures: by item index. lines: what the manifest got, one for each cell that they are of."""

    pictures: Mapping[int, Path]
    lines: tuple[ManifestLine, ...]
    notes: tuple[str, ...]

    def contents(self, job: Job) -> list[Content]:
        """Of which checkpoint each picture is."""
        return [(job, index, content) for index, content in {line.item: line.checkpoint for line in self.lines}.items()]


class Worker:
    """One ComfyUI that does jobs.

    Args:
        folder: Output folder; below it are the run's folders.
        local_output: ComfyUI's own output folder where it is on this machine.
        name: What the manifest calls it.
        timeout: Seconds for each job, restarts of ComfyUI included.
    """

    def __init__(
        self,
        client: HostClient,
        folder: Path,
        local_output: Path | None = None,
        name: str = "local",
        timeout: float | None = None,
    ) -> None:
        self.client, self.folder, self.local_output = client, folder.absolute(), local_output
        self.name, self.timeout = name, timeout
        self.version: str | None = None
        self._runs: dict[str, str] = {}

    async def ready(self, recipe: Recipe, control_images: Mapping[str, Path]) -> None:
        """Bring the files that samples follow, and ask for ComfyUI's version and its names of the runs.

        Raises HostError, OSError.
        """
        await upload(self.client, control_images)
        for run in recipe.runs.values():
            await self.run_name(run)
        version = (await self.client.system_stats())["system"].get("comfyui_version")
        self.version = version if isinstance(version, str) else None

    async def run_name(self, run: str | None) -> str | None:
        """What this ComfyUI calls a run, asked once."""
        if run is not None and run not in self._runs:
            self._runs[run] = await host_run_name(self.client, run)
        return None if run is None else self._runs[run]


def worker_name(url: str | None) -> str:
    """What the manifest calls the ComfyUI at `url`, None = one that was found or started on this machine."""
    if url is None:
        return "local"
    parts = urlsplit(url if "://" in url else f"//{url}")
    return parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")


async def do_job(worker: Worker, recipe: Recipe, job: Job, report: Report | None = None) -> JobDone:
    """Sample one job, bring its pictures into the worker's folder, and add them to the manifest there.

    A job that was done before, wholly or in part, is done again. Cancelling it cancels its prompt. Raises HostError,
    WorkflowError, CompareError, OSError.
    """
    name = await worker.run_name(recipe.run(job.variant))
    workflow = recipe.graphs(job.variant).at(job.step, name, job.indices)
    clock = _Clock(report)
    done = await sample_step(worker.client, workflow, job.step, clock.tell, worker.timeout)
    files = await fetch(worker.client, done, worker.folder, worker.local_output)
    pictures = {image.item.index: path for image, path in files.items()}
    root, marks = samples_root(worker.folder, recipe.spec), saver_marks(workflow.api())
    graph = {index: marks.get(saver) for saver, items in workflow.saves.items() for index in items}
    lines = []
    for index, path in pictures.items():
        texts = read_texts(path)
        facts: dict[str, Any] = {"checkpoint": checkpoint_of(texts), "graph": graph[index], "sigmas": sigmas_of(texts)}
        facts |= {"seconds": clock.seconds.get(index), "made": utc()}
        for variant in job.of:
            line = line_of(recipe.spec, variant, job.step, index, path.relative_to(root).as_posix())
            lines.append(replace(line, comfyui=worker.version, worker=worker.name, **facts))
    append(root, lines)
    return JobDone(pictures, tuple(lines), done.notes)


class _Clock:
    """How long each picture of a prompt took; the first one's time has the loading in it.

    report: told everything that this one is.
    """

    def __init__(self, report: Report | None) -> None:
        self.seconds: dict[int, float] = {}
        self._report, self._last = report, time.monotonic()

    def tell(self, workflow: Workflow, event: Event | None) -> None:
        if isinstance(event, Executed) and event.node in workflow.saves:
            items = workflow.saves[event.node]
            numbers = event.output.get(PICTURES, range(len(items)))
            new = [items[number] for number in numbers if items[number] not in self.seconds]
            now = time.monotonic()
            self.seconds |= {index: round((now - self._last) / len(new), 3) for index in new}
            self._last = now
        if self._report is not None:
            self._report(workflow, event)


async def sample_grid(
    url: str,
    grid: Grid,
    folder: Path,
    local_output: Path | None,
    console: Console | None = None,
    *,
    name: str = "local",
    timeout: float | None = None,
) -> tuple[Made, str | None]:
    """Do the jobs of a grid on ComfyUI at `url`, one after the other; what was made, and ComfyUI's version.

    Args:
        folder: Output folder, as for `plan_grid`.
        local_output, name, timeout: As for `Worker`.
        console: Where progress is shown.

    Pictures that fail by themselves, as those of a checkpoint that is cut off, do not keep the others from being made.
    Those of a checkpoint that is another one by now are named in the grid's notes.

    Raises HostError, for pictures that failed once all others are made; WorkflowError, CompareError, OSError.
    """
    grid.record_kept()
    made: Made = {}
    contents: list[Content] = []
    failed: dict[Job, HostError] = {}
    async with HostClient(url) as client:
        worker = Worker(client, folder, local_output, name, timeout)
        await worker.ready(grid.recipe, grid.control_images)
        with _progress(console, grid, name) as report:
            for job in grid.jobs:
                try:
                    done = await do_job(worker, grid.recipe, job, report)
                except HostError as error:
                    if not of_the_pictures(error) or len(grid.jobs) == 1:
                        raise
                    failed[job] = error
                    _tell_failed(console, job, error)
                    continue
                made |= made_by(job, done)
                contents += done.contents(job)
    notes = replaced(grid, contents)
    if failed:
        parts = [(job, job.indices) for job in failed]
        raise not_made(parts, [*map(str, failed.values()), *notes], next(iter(failed.values())))
    grid.notes.extend(notes)
    return made, worker.version


def made_by(job: Job, done: JobDone) -> Made:
    """What a job made of a grid."""
    shown = -1 if job.step is None else job.step
    return {(variant.key, shown, index): path for variant in job.of for index, path in done.pictures.items()}


def document_of(
    grid: Grid, made: Made, sheet: str | None = None, rows: str | None = None, columns: str | None = None
) -> dict[str, Any]:
    """What there is after a grid is done, as JSON types.

    Images (step, index, prompt, seed, path, kept; of a sweep with further axes their values), sheet, notes; `instead`:
    the notes that tell of another base model.

    Args:
        made: What `sample_grid` gave, {} where there was nothing to do.
        sheet: File name of a contact sheet to write into the run's folder; None writes none.
        rows, columns: Axes of the sheet, None = chosen; with further ones there are several `sheets`.

    Raises ImagesError, CompareError.
    """
    paths = {**grid.kept(), **made}
    shown = [-1 if step is None else step for step in grid.steps]
    sheets: list[Path] = []
    if sheet is not None:
        sheets = write_sheets(paths, grid.spec, shown, grid.root, sheet, grid.variants, rows, columns)
    images = [
        {
            "step": None if step < 0 else step,
            "index": item.index,
            "prompt": item.prompt,
            "seed": item.seed,
            "path": str(paths[variant.key, step, item.index]),
            "kept": (variant.key, step, item.index) not in made,
            **({"axes": dict(variant.values)} if variant.values else {}),
        }
        for variant in grid.variants
        for step in shown
        for item in variant.of(grid.spec).items
    ]
    graphs = [plan.graphs for plan in grid.plans.values()]
    instead = [note for graph in graphs for step in grid.steps for note in graph.at(step).instead]
    return {
        "images": images,
        "sheet": str(sheets[0]) if sheets else None,
        **({"sheets": [str(path) for path in sheets]} if len(sheets) > 1 else {}),
        "notes": grid.notes,
        "instead": list(dict.fromkeys(instead)),
    }


def _tell_failed(console: Console | None, job: Job, error: HostError) -> None:
    from rich.markup import escape

    if console is not None:
        told = escape(f"{named([(job, job.indices)])}: {error}")
        console.print(f"[red]failed:[/] {told}", highlight=False, soft_wrap=True)


def _progress(console: Console | None, grid: Grid, worker: str) -> AbstractContextManager[Report | None]:
    if console is None or not grid.images:
        return nullcontext()
    from .console import sweep_progress

    guess = estimate(read(grid.root), worker, grid.sizes())
    pace = Pace(sum(map(work, grid.sizes())), None if guess is None else guess.seconds)
    return sweep_progress(console, grid.spec.name, grid.images, pace)
