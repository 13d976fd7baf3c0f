"""A run folder that is being written: every checkpoint sampled once, as it appears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ..compare.axes import PLAIN, Variant
from ..errors import HostError, LoraError
from ..lora import Checkpoint, find_checkpoints
from ..lora.checkpoints import refuse_several_runs
from ..lora.header import read_header
from ..lora.step_lists import spread
from ..spec import SampleSpec
from ..spec.model import draw_seeds
from ..workflows.models import Models
from .changes import changes
from .control_images import named_by_content
from .failures import no_checkpoint, of_the_pictures
from .graphs import models_offered
from .grid import Job, Recipe, plan_grid, record
from .host_client import HostClient
from .jobs import JobDone, Worker, do_job
from .resume import CheckpointFiles, unsure_note
from .sample_records import Samples, pictures_below, samples_by_record, samples_root
from .sheets import write_sheets
from .sweep import Report

#: The most training steps on one contact sheet: the first and the newest are always among them.
SHEET_COLUMNS: Final = 12
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

    def step(self, step: int, images: Mapping[str, Path], prompts: Mapping[str, str], sheet: Path) -> None:
        """Take the new images of a training step, by name, their prompts, and the first sheet as it is now.

        A name is the item's number ("00"), of a sweep with further axes with the variant's key ("00/strength=0.8").
        """

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers of a training step, by name."""

    def close(self) -> None:
        """Write out what is pending."""


@dataclass(frozen=True)
class Told:
    """One thing to tell: "sampled", "replaced", "waiting", "broken", "failed", "skipped", "models", "host", "folder",
    "ended"."""

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
    sheets: list[Path] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "steps": {str(step): [str(path) for path in paths] for step, paths in sorted(self.made.items())},
            "failed": self.failed,
            "waiting": self.waiting,
            "sheet": str(self.sheets[0]) if self.sheets else None,
            **({"sheets": [str(path) for path in self.sheets]} if len(self.sheets) > 1 else {}),
            "notes": self.notes,
        }


class Watch:
    """Samples the checkpoints of `run` on a ComfyUI, each with each prompt and variant once, into `folder`.

    What was sampled is read from the images below `folder`, so a restart goes on where it was. A checkpoint that
    another takes the place of is sampled anew. One that cannot be used is told and passed over until its file changes.

    Args:
        new_only: Whether checkpoints that are there at the start are left out.
        again: Whether images that are there do not count.
        batch: As in `sweep`.
        variants: Of every checkpoint.
        rows, columns: Axes of the contact sheets, see `sheets.write_sheets`.
        worker: What the manifest calls the ComfyUI.
        plain: Whether the first checkpoint is preceded by pictures without LoRA, where these are not there.
        after: Called when a checkpoint is done.

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
        variants: Sequence[Variant] = (PLAIN,),
        rows: str | None = None,
        columns: str | None = None,
        worker: str = "local",
        plain: bool = False,
        after: Callable[[], object] = lambda: None,
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
        self.variants, self.rows, self.columns = list(variants), rows, columns
        self.worker, self.after, self._plain = worker, after, plain
        self._files = CheckpointFiles()
        self.root = samples_root(self.folder, spec)
        self._samples = {variant: Samples(self.root, variant.of(spec), None, self._files) for variant in self.variants}
        self._recipe = self._new_recipe()
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
            elif any(of.missing(entry.step) for of in self._samples.values()) and self._usable(entry.path):
                yield entry, entry.step

    async def once(self, client: HostClient) -> None:
        """Sample every complete checkpoint that lacks images. Raises HostError, WorkflowError, LoraError."""
        if self.models is None and any(self.pending()):
            self.models, choice = await models_offered(client.url, self.spec)
            for note in choice:  # at once: should ComfyUI refuse the graph, they say what it lacks
                self._tell_once("models", note)
            self._recipe = self._new_recipe()
            self._looked = self._again  # images made with other model files do not count
            self._look()
        for entry, step in self.pending():
            if self._plain:
                await self._sample_plain(client)
            await self._sample(client, entry, step)

    async def forever(self, client: HostClient, interval: float, timeout: float | None = None) -> None:
        """`once` at every change of the folder and at least every `interval` seconds, until cancelled.

        A host that is away is waited for, and so is a folder that was there before.

        Args:
            timeout: Seconds without a new checkpoint after which it ends, None = never.
        """
        files: dict[Path, Stamp | None] | None = None
        since, away, there = time.monotonic(), None, True
        async for _ in changes(self.run, interval if timeout is None else min(interval, timeout)):
            before, away = files, None
            made = sum(map(len, self.summary.made.values()))
            try:
                files = {entry.path: _stamp(entry.path) for entry in self._checkpoints()}
                there = True
                await self.once(client)
            except (HostError, LoraError, OSError) as error:
                if isinstance(error, HostError) and error.kind in _AWAY:
                    away = error
                    self._tell_once("host", f"{error} Trying again every {interval:g} s.")
                elif before is None or self._is_there():
                    raise
                elif there:  # a network drive, or a trainer that makes its folder anew
                    there = False
                    self.tell(Told("folder", f"{self.run} is not there any more. Looking again every {interval:g} s."))
            if files != before or made != sum(map(len, self.summary.made.values())):
                since = time.monotonic()
            if timeout is not None and time.monotonic() - since >= timeout:
                if away is not None:
                    raise away
                self.tell(Told("ended", f"no new checkpoint for {timeout:g} s"))
                return

    def _new_recipe(self) -> Recipe:
        """What the graphs are made of; seeds that the config leaves to chance are drawn anew, as trainers do."""
        spec, self._drawn = draw_seeds(self.spec)
        return Recipe(spec, self.models, {"": str(self.run)}, self.batch)

    def _look(self) -> None:
        """Read from the images what was sampled, once."""
        if self._looked:
            return
        there = pictures_below(self.root)
        for variant in self.variants:
            marks, spec = self._recipe.graphs(variant).marks, variant.of(self.spec)
            self._samples[variant] = samples_by_record(self.folder, spec, marks, self._files, there)
        notes = [note for of in self._samples.values() for note in unsure_note(of)]
        self.summary.notes += [note for note in dict.fromkeys(notes) if note not in self.summary.notes]
        record(self.root, self._recipe, self._cells())
        self._looked = True

    def _cells(self) -> dict[tuple[Variant, int, int], Path]:
        """All pictures there are, by variant, training step and item index."""
        return {(variant, *place): path for variant, of in self._samples.items() for place, path in of.paths().items()}

    def _checkpoints(self) -> list[Checkpoint]:
        found = find_checkpoints(self.run)
        refuse_several_runs(found)
        self._files.update(found)
        return found

    def _is_there(self) -> bool:
        try:
            find_checkpoints(self.run)
        except (LoraError, OSError):
            return False
        return True

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

    async def _sample_plain(self, client: HostClient) -> None:
        """Sample once without LoRA, with the seeds that the config tells."""
        self._plain = False
        spec = self.spec.part([item for item in self.spec.items if item.seed is not None])
        if not spec.items:
            return
        runs = {"": str(self.run)}
        grid = plan_grid(spec, [0], self.folder, self.variants, models=self.models, runs=runs, batch=self.batch)
        grid.record_kept()
        worker = Worker(client, self.folder, self.local_output, self.worker)
        await worker.ready(grid.recipe, grid.control_images)
        for job in grid.jobs:
            try:
                with self.progress("without LoRA", grid.spec) as tell:
                    done = await do_job(worker, grid.recipe, job, tell)
            except HostError as error:
                if not of_the_pictures(error):
                    self._plain = True
                    raise
                self._tell_once("failed", f"without LoRA: {error}")
                continue
            if job.variant in self._samples:
                self._samples[job.variant].add(0, done.pictures)
            self.summary.made.setdefault(0, []).extend(done.pictures.values())

    async def _sample(self, client: HostClient, entry: Checkpoint, step: int) -> None:
        """Sample what a checkpoint lacks, variant by variant."""
        stamp = _stamp(entry.path)
        worker = Worker(client, self.folder, self.local_output, self.worker)
        await worker.ready(self._recipe, self._control)
        replaced = [of.forget_old(step) for of in self._samples.values()]
        if any(replaced):
            self.tell(Told("replaced", f"{entry.path} is another one than before", step))
        if any(item.seed is None for item in self.spec.items):
            self._recipe = self._new_recipe()
        made: dict[tuple[Variant, int], Path] = {}
        for variant, samples in self._samples.items():
            missing = tuple(samples.missing(step))
            if not missing:
                continue
            done = await self._do(worker, entry, stamp, Job(variant, step, missing, (variant,)))
            if done is None:
                break
            samples.add(step, done.pictures)
            if any(samples.is_another(step, line.checkpoint) for line in done.lines):
                if stamp == _stamp(entry.path):
                    name = await worker.run_name(str(self.run))
                    self._judge(entry.path, stamp, "failed", f"ComfyUI's run {name} holds another file of this name")
                    return
                self.summary.waiting.append(str(entry.path))
                self.tell(Told("waiting", f"{entry.path} was replaced while it was sampled: it is sampled again", step))
            self.summary.made.setdefault(step, []).extend(done.pictures.values())
            notes = dict.fromkeys([*self._drawn, *done.notes])
            self.summary.notes += [note for note in notes if note not in self.summary.notes]
            made |= {(variant, index): path for index, path in done.pictures.items()}
        else:
            self.summary.failed.pop(str(entry.path), None)
        if made:
            await self._tell_step(step, made)

    async def _do(self, worker: Worker, entry: Checkpoint, stamp: Stamp | None, job: Job) -> JobDone | None:
        """Have ComfyUI do a job; None where the checkpoint cannot be used, which is told. stamp: the file as it was."""
        title = ", ".join(filter(None, [f"step {job.step}", job.variant.title]))
        items = self.spec.part([one for one in self.spec.items if one.index in job.indices])
        try:
            with self.progress(title, items) as tell:
                return await do_job(worker, self._recipe, job, tell)
        except HostError as error:
            if not of_the_pictures(error):
                raise
            if no_checkpoint(error) and _stamp(entry.path) is None:
                self._tell_once("skipped", f"{entry.path} was deleted before all of it was sampled")
            else:
                self._judge(entry.path, stamp, "failed", str(error))
        return None

    async def _tell_step(self, step: int, made: Mapping[tuple[Variant, int], Path]) -> None:
        """Draw the sheets anew, and write a step's new pictures into the logs."""
        self.summary.sheets = await asyncio.to_thread(self._draw_sheets)
        texts = {item.index: item.prompt for item in self.spec.items}
        names = {at: "/".join(filter(None, [f"{at[1]:02}", at[0].key])) for at in made}
        images = {names[at]: path for at, path in made.items()}
        prompts = {names[at]: texts[at[1]] for at in made}
        for log in self.logs:
            await asyncio.to_thread(log.step, step, images, prompts, self.summary.sheets[0])
        await asyncio.to_thread(self.after)
        self.tell(Told("sampled", f"step {step}: {len(images)} images", step))

    def _draw_sheets(self) -> list[Path]:
        """The sheets of all steps there are (at most SHEET_COLUMNS)."""
        cells = {(variant.key, step, index): path for (variant, step, index), path in self._cells().items()}
        steps = spread(sorted({step for _, step, _ in cells}), SHEET_COLUMNS)
        return write_sheets(
            cells, self.spec, steps, self.root, variants=self.variants, rows=self.rows, columns=self.columns
        )


def _stamp(path: Path) -> Stamp | None:
    """Size and time of a file, None = it is gone: trainers delete old checkpoints."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
