"""One worker on a Ray cluster: an actor that owns a ComfyUI, or uses one that runs already, and does a sweep's jobs.

It needs neither the disk of the command nor that of another worker: checkpoints come with the work, and pictures go
back as they are saved. Ray itself is not imported here.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, Protocol

from ..errors import EriError, HostError, LoraError
from ..lora import find_checkpoints, select_checkpoint
from ..protocol.events import Event, Executed
from ..protocol.pack_version import pack_version
from ..whole_files import write_whole
from ..workflows import Workflow
from .grid import Job, Recipe
from .host_client import HostClient
from .jobs import JobDone, Worker, do_job
from .several_hosts import counted, nodes_of, require_fit_for

#: What a worker needs beside what makes pictures: the work comes as objects of these.
ROOMS: Final = ("client", "compare")

_PREFIX: Final = "eri-ray-"
_WEEK: Final = 7 * 86_400


class OwnHost(Protocol):
    """A ComfyUI of the worker's own, such as `dev.local_host.LocalHost`."""

    @property
    def url(self) -> str:
        """Its address."""

    def start(self) -> object:
        """Start it, and return once it answers."""

    def stop(self) -> None:
        """End it."""


#: Makes a ComfyUI that is not started yet, with this folder of LoRAs and this output folder.
MakeHost = Callable[[Path, Path], OwnHost]


class SentFile(NamedTuple):
    """A file that comes with the work.

    Args:
        place: Where it goes, relative to the folder of its kind.
        fingerprint: Another one for another content.
        content: Where Ray keeps its bytes; in a list, so that they come only to a worker that lacks them.
    """

    place: str
    fingerprint: str
    content: Sequence[Awaitable[bytes]]


class SentRun(NamedTuple):
    """A run of the command's machine, and which of its files a job needs.

    Args:
        run: As the recipe has it.
        folder: Where its files go, below the folder of LoRAs.
        inside: The run in that folder where it holds several, "" = all of it.
        step: The training step that is wanted, None = any.
        files: The first one is the checkpoint of that step.
    """

    run: str
    folder: str
    inside: str
    step: int | None
    files: Sequence[SentFile]


class Answer(NamedTuple):
    """What a worker says: a value, or the parts of the error that kept it from one, which Ray would not keep."""

    value: Any = None
    error: Mapping[str, Any] | None = None


class RayWorker:
    """The actor. Each method but the last two gives an `Answer`.

    Args:
        url: A ComfyUI that runs already, as it is reached from the worker's machine; None = one of its own.
        make_host: Makes one of its own.
    """

    def __init__(self, url: str | None, make_host: MakeHost | None) -> None:
        self._url, self._make_host = url, make_host
        _prune()
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._loras, self._output = self._folder / "loras", self._folder / "output"
        self._loras.mkdir()
        self._own: OwnHost | None = None
        self._worker: Worker | None = None
        self._recipe: Recipe | None = None
        self._runs: dict[str, str] = {}
        self._here: dict[Path, str] = {}
        self._made = 0
        self._saved: dict[str, Path] = {}
        self._gone: set[str] = set()
        self._doing: asyncio.Future[Any] | None = None

    async def about(self) -> Answer:
        """The version of its pack, and the name of its machine."""
        return Answer((pack_version(*ROOMS), socket.gethostname()))

    async def open(self, timeout: float | None) -> Answer:
        """Start or reach the ComfyUI; gives its /object_info."""
        return await _answered(self._open(timeout))

    async def receive(self, run: SentRun) -> Answer:
        """Take the files of a run that are not here yet; whether these alone tell which is the wanted step's."""
        return await _answered(self._receive(run))

    async def prepare(self, recipe: Recipe, job: Job, control_images: Sequence[SentFile], name: str) -> Answer:
        """Take what all jobs are made by; the error says that a graph could not run here. name: the worker's."""
        return await _answered(self._prepare(recipe, job, control_images, name))

    async def do(self, job: Job) -> Answer:
        """Do a job; gives the `JobDone` with paths as text, relative to the output folder, and the files there."""
        self._made = 0
        self._saved, self._gone = {}, set()
        self._doing = asyncio.ensure_future(self._do(job))
        return await _answered(self._doing)

    async def made(self, there: Sequence[str]) -> tuple[int, dict[str, bytes]]:
        """How many pictures of the job that it is at are made, and the files of those that are saved.

        there: the files that came with earlier answers, which are left out from now on.
        """
        self._gone.update(there)
        return self._made, self._files()

    async def close(self) -> None:
        """End what was started, a job in ComfyUI too, and remove what was sent."""
        if self._doing is not None:
            self._doing.cancel()
            await asyncio.wait([self._doing])
        if self._worker is not None:
            await self._worker.client.close()
        if self._own is not None:
            await asyncio.to_thread(self._own.stop)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _open(self, timeout: float | None) -> dict[str, Any]:
        if self._url is None and self._make_host is not None:
            self._own = self._make_host(self._loras, self._output)
            await asyncio.to_thread(self._own.start)
            self._url = self._own.url
        client = HostClient(self._url or "")
        own = None if self._own is None else self._output
        self._worker = Worker(client, self._output, own, timeout=timeout)
        return await nodes_of(client)

    async def _receive(self, run: SentRun) -> bool:
        folder = self._loras / run.folder
        for file in run.files:
            await self._take(folder / PurePosixPath(file.place), file)
        local = folder / run.inside if run.inside else folder
        self._runs[run.run] = str(local)
        return run.step is None or await asyncio.to_thread(_tells, local, run.step, folder / run.files[0].place)

    async def _take(self, target: Path, file: SentFile) -> None:
        if self._here.get(target) != file.fingerprint:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, await file.content[0])
            self._here[target] = file.fingerprint

    async def _prepare(self, recipe: Recipe, job: Job, control_images: Sequence[SentFile], name: str) -> None:
        worker = self._opened()
        worker.name = name
        runs = {value: None if run is None else self._runs.get(run, run) for value, run in recipe.runs.items()}
        self._recipe = replace(recipe, runs=runs)
        for file in control_images:
            await self._take(self._folder / "control" / file.place, file)
        images = {file.place: self._folder / "control" / file.place for file in control_images}
        await worker.ready(self._recipe, images)
        await require_fit_for(worker, await worker.client.object_info(), self._recipe, job)

    async def _do(self, job: Job) -> tuple[JobDone, dict[str, bytes]]:
        if self._recipe is None:
            raise HostError("this worker was not prepared")
        count = counted(self._count)

        def report(workflow: Workflow, event: Event | None) -> None:
            count(workflow, event)
            if isinstance(event, Executed) and event.node in workflow.saves:
                self._take_note(self._output / image.subfolder / image.filename for image in event.images)

        done = await do_job(self._opened(), self._recipe, job, report)
        self._take_note(done.pictures.values())
        files = self._files()
        for path in self._saved.values():
            path.unlink(missing_ok=True)
        pictures = {index: path.relative_to(self._output) for index, path in done.pictures.items()}
        return replace(done, pictures=pictures), files

    def _take_note(self, pictures: Iterable[Path]) -> None:
        """Have these sent: as `fetch` brings them, the picture says that all is there."""
        for path in pictures:
            for file in (path.with_suffix(".txt"), path):
                self._saved[file.relative_to(self._output).as_posix()] = file

    def _files(self) -> dict[str, bytes]:
        """Those that the command lacks; a ComfyUI that is reached by its URL brings them at the end of the job."""
        lacking = {name: path for name, path in self._saved.items() if name not in self._gone and path.is_file()}
        return {name: path.read_bytes() for name, path in lacking.items()}

    def _count(self, made: int) -> None:
        self._made = made

    def _opened(self) -> Worker:
        if self._worker is None:
            raise HostError("this worker was not opened")
        return self._worker


def _prune() -> None:
    """Remove what workers that were killed long ago left here."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if folder.stat().st_mtime < time.time() - _WEEK:
            shutil.rmtree(folder, ignore_errors=True)


def _tells(run: Path, step: int, file: Path) -> bool:
    """Whether the files that are here make `file` the run's checkpoint of `step`."""
    try:
        return select_checkpoint(find_checkpoints(run), step).path == file
    except LoraError:
        return False


async def _answered(work: Awaitable[Any]) -> Answer:
    try:
        return Answer(await work)
    except HostError as error:
        named = {name: getattr(error, name) for name in ("kind", "node", "class_type", "field", "details")}
        return Answer(error={"problem": error.problem, "remedy": dict(error.remedies), **named})
    except (EriError, OSError) as error:
        return Answer(error={"problem": str(error)})
