"""A run folder that is being written: every checkpoint sampled once, as it appears."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import HostError, LoraError
from ..lora import Checkpoint, find_checkpoints
from ..lora.checkpoints import refuse_several_runs
from ..lora.header import read_header
from ..lora.step_lists import spread
from ..spec import SampleSpec
from ..workflows.models import Models
from .control_images import named_by_content, upload
from .graphs import models_offered
from .host_client import HostClient
from .resume import CheckpointFiles, StepGraphs, unsure_note
from .runs import host_run_name
from .sample_records import Samples, samples_by_record, samples_root
from .sheets import write_sheets
from .sweep import Report, fetch, sample_step

#: The most training steps on one contact sheet: the first and the newest are always among them.
SHEET_COLUMNS: Final = 12
#: The fault of one checkpoint or of its moment; anything else (host down, graph refused) is not.
_OF_ONE_CHECKPOINT: Final = ("execution", "out_of_memory")
#: A host that may come back.
_AWAY: Final = ("down", "timeout", "lost")

Stamp = tuple[int, int]  # size, mtime_ns
#: Title and spec of what begins -> a context with the sweep's report function.
Progress = Callable[[str, SampleSpec], AbstractContextManager[Report | None]]


def no_progress(_title: str, _spec: SampleSpec) -> AbstractContextManager[None]:
    """Show nothing while a step is sampled."""
    return nullcontext()


class Log(Protocol):
    """Where finished steps are also written: TensorBoard, W&B, SerenityBoard."""

    def step(self, step: int, images: Mapping[int, Path], prompts: Mapping[int, str], sheet: Path) -> None:
        """Take the new images (item index -> file) of a training step, and the sheet as it is now."""

    def close(self) -> None:
        """Write out what is pending."""


@dataclass(frozen=True)
class Told:
    """One thing to tell: "sampled", "replaced", "waiting", "broken", "failed", "skipped", "models", "host"."""

    what: str
    text: str
    step: int | None = None


@dataclass
class Summary:
    """What a watch did so far. made: new images by training step. failed: problem by checkpoint file."""

    made: dict[int, list[Path]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sheet: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "steps": {str(step): [str(path) for path in paths] for step, paths in sorted(self.made.items())},
            "failed": self.failed,
            "waiting": self.waiting,
            "sheet": None if self.sheet is None else str(self.sheet),
            "notes": self.notes,
        }


class Watch:
    """Samples the checkpoints of `run` on a ComfyUI, each with each prompt once, into `folder`.

    What was sampled is read from the images below `folder`, so a restart goes on where it was. A checkpoint that
    another takes the place of is sampled anew. One that cannot be used is told and passed over until its file changes.

    Args:
        new_only: Whether checkpoints that are there at the start are left out.
        again: Whether images that are there do not count.
        batch: As in `sweep`.

    Raises LoraError for a folder with checkpoints of several runs.
    """

    def __init__(
        self,
        spec: SampleSpec,
        run: Path,
        folder: Path,
        *,
        models: Models = None,
        local_output: Path | None = None,
        new_only: bool = False,
        again: bool = False,
        batch: int = 1,
        logs: tuple[Log, ...] = (),
        tell: Callable[[Told], None] = lambda told: None,
        progress: Progress = no_progress,
        summary: Summary | None = None,
    ) -> None:
        spec, self._control = named_by_content(spec)
        self.spec, self.run, self.folder = spec, run, folder.absolute()
        self.models: Models = models
        self.local_output, self.batch = local_output, batch
        self.logs, self.tell, self.progress = logs, tell, progress
        self.summary = Summary() if summary is None else summary
        self._files = CheckpointFiles()
        self._samples = Samples(samples_root(self.folder, spec), spec, None, self._files)
        self._graphs = StepGraphs(spec, models, run, batch)
        self._looked = self._again = again
        self._left_out = {entry.path: _stamp(entry.path) for entry in self._checkpoints()} if new_only else {}
        self._judged: dict[Path, Stamp] = {}  # broken or failed, as the file was then
        self._told: set[tuple[str, str]] = set()

    def pending(self) -> Iterator[tuple[Checkpoint, int]]:
        """Complete checkpoints that lack images, and their steps, each looked at when it is its turn; asks no host.

        Tells of those that cannot be sampled. Raises WorkflowError, LoraError.
        """
        self.summary.waiting = []
        entries = self._checkpoints()
        self._look()
        for entry in entries:
            if entry.path in self._left_out and self._left_out[entry.path] == _stamp(entry.path):
                continue
            if entry.step is None:
                self._tell_once("skipped", f"{entry.path}: its training step is unknown, so its images have no name")
            elif self._samples.missing(entry.step) and self._usable(entry.path):
                yield entry, entry.step

    async def once(self, client: HostClient) -> None:
        """Sample every complete checkpoint that lacks images. Raises HostError, WorkflowError, LoraError."""
        if self.models is None and any(self.pending()):
            self.models, choice = await models_offered(client.url, self.spec)
            for note in choice:  # at once: should ComfyUI refuse the graph, they say what it lacks
                self._tell_once("models", note)
            self._graphs = StepGraphs(self.spec, self.models, self.run, self.batch)
            self._looked = self._again  # images made with other model files do not count
        for entry, step in self.pending():
            await self._sample(client, entry, step)

    async def forever(self, client: HostClient, interval: float) -> None:
        """`once` at every change of the folder and at least every `interval` seconds, until cancelled.

        A host that is away is waited for.
        """
        async for _ in changes(self.run, interval):
            try:
                await self.once(client)
            except HostError as error:
                if error.kind not in _AWAY:
                    raise
                self._tell_once("host", f"{error} Trying again every {interval:g} s.")

    def _look(self) -> None:
        """Read from the images what was sampled, once."""
        if not self._looked:
            self._samples = samples_by_record(self.folder, self.spec, self._graphs.marks, self._files)
            self.summary.notes += [note for note in unsure_note(self._samples) if note not in self.summary.notes]
            self._looked = True

    def _checkpoints(self) -> list[Checkpoint]:
        found = find_checkpoints(self.run)
        refuse_several_runs(found)
        self._files.update(found)
        return found

    def _usable(self, path: Path) -> bool:
        """Whether the file is complete; tells why not."""
        try:
            stamp = _stamp(path)
            if stamp is None or self._judged.get(path) == stamp:
                return False
            read_header(path)
        except LoraError as error:
            if error.retryable:
                self.summary.waiting.append(str(path))
                self._tell_once("waiting", f"{path} is being written")
            else:
                self._judge(path, stamp, "broken", str(error))
            return False
        self._judged.pop(path, None)
        return True

    def _judge(self, path: Path, stamp: Stamp | None, what: str, problem: str) -> None:
        if stamp is not None:
            self._judged[path] = stamp
        self.summary.failed[str(path)] = problem
        self.tell(Told(what, problem if str(path) in problem else f"{path}: {problem}"))

    def _tell_once(self, what: str, text: str) -> None:
        if (what, text) not in self._told:
            self._told.add((what, text))
            self.tell(Told(what, text))

    async def _sample(self, client: HostClient, entry: Checkpoint, step: int) -> None:
        stamp = _stamp(entry.path)
        await upload(client, self._control)
        if self._samples.forget_old(step):
            self.tell(Told("replaced", f"{entry.path} is another one than before", step))
        name = await host_run_name(client, self.run)
        if any(item.seed is None for item in self.spec.items):  # drawn anew for every step, as trainers do
            self._graphs = StepGraphs(self.spec, self.models, self.run, self.batch)
        workflow = self._graphs.at(step, name, self._samples.missing(step))
        try:
            with self.progress(f"step {step}", workflow.spec) as report:
                done = await sample_step(client, workflow, step, report)
        except HostError as error:
            if error.kind not in _OF_ONE_CHECKPOINT:
                raise
            self._judge(entry.path, stamp, "failed", str(error))
            return
        files = await fetch(client, done, self.folder, self.local_output)
        images = {image.item.index: path for image, path in files.items()}
        self._samples.add(step, images)
        if self._samples.are_of_another(step, list(images.values())) and stamp == _stamp(entry.path):
            self._judge(entry.path, stamp, "failed", f"ComfyUI's run {name} holds another file of this name")
            return
        self.summary.failed.pop(str(entry.path), None)
        self.summary.made.setdefault(step, []).extend(images.values())
        self.summary.notes += [note for note in done.notes if note not in self.summary.notes]
        self.summary.sheet = await asyncio.to_thread(self._draw_sheet)
        prompts = {item.index: item.prompt for item in self.spec.items}
        for log in self.logs:
            await asyncio.to_thread(log.step, step, images, prompts, self.summary.sheet)
        self.tell(Told("sampled", f"step {step}: {len(images)} images", step))

    def _draw_sheet(self) -> Path:
        """The sheet of all steps there are (at most SHEET_COLUMNS), a row per prompt."""
        samples = self._samples
        steps = spread(samples.steps(), SHEET_COLUMNS)
        paths = {("", step, index): path for (step, index), path in samples.paths().items()}
        return write_sheets(paths, self.spec, steps, samples.root)[0]


def _stamp(path: Path) -> Stamp | None:
    """Size and time of a file, None = it is gone: trainers delete old checkpoints."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def sees_changes() -> bool:
    """Whether the package watchfiles is there; without it folders are only looked at from time to time."""
    return importlib.util.find_spec("watchfiles") is not None


async def changes(folder: Path, interval: float) -> AsyncIterator[None]:
    """Yield at once, then at every change below `folder` and after every `interval` seconds without one."""
    yield
    if not sees_changes():
        while True:
            await asyncio.sleep(interval)
            yield
    from watchfiles import awatch

    # Network drives send no events: the timeout is their rescan.
    watched = folder if folder.is_dir() else folder.parent
    async for _ in awatch(watched, rust_timeout=max(1, int(interval * 1000)), yield_on_timeout=True, step=200):
        yield
