"""A spec over several training steps: one queued prompt per step, its images collected."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..compare.estimate import work
from ..errors import HostError
from ..protocol.events import Event, ImageRef, StepProgress, prompt_files_of
from ..spec import SampleItem, SampleSpec
from ..workflows import Workflow
from ..workflows.models import Models
from .control_images import named_by_content, upload
from .host_client import HostClient, PromptResult
from .recovery import fix_times, run_through
from .resume import StepGraphs

#: What a sweep tells while it runs: the step's graph, and ComfyUI's event (None = the step begins).
Report = Callable[[Workflow, Event | None], None]


@dataclass(frozen=True)
class SweepImage:
    """One image: which training step, which item of the spec, where ComfyUI put it, and its prompt file if any."""

    step: int
    item: SampleItem
    ref: ImageRef
    text: ImageRef | None = None


@dataclass(frozen=True)
class Sweep:
    """A finished sweep. spec: with every seed drawn. images: step by step, items in the spec's order."""

    spec: SampleSpec
    steps: tuple[int, ...]
    images: tuple[SweepImage, ...]
    notes: tuple[str, ...] = ()


async def sweep(
    client: HostClient,
    spec: SampleSpec,
    steps: Sequence[int | None],
    *,
    models: Models = None,
    run: str | None = None,
    report: Report | None = None,
    timeout: float | None = None,
    batch: int = 1,
) -> Sweep:
    """Sample `spec` once per training step, with the same seeds each time, and collect what ComfyUI wrote.

    A ComfyUI that is restarted meanwhile gets only the step again that it had not finished, under the same file names;
    one that stays away longer than `client.patience` is an error. Cancelling the task cancels the prompt in ComfyUI.

    Args:
        steps: 0 is without LoRA, None is the newest checkpoint.
        run: A name that ComfyUI offers (see `runs.host_run_name`).
        timeout: Seconds per step, restarts included.
        batch: The most samples to denoise at once.

    Raises HostError, WorkflowError or OSError.
    """
    if not steps:
        raise ValueError("steps must name at least one training step")
    spec, control = named_by_content(spec)
    await upload(client, control)
    graphs = StepGraphs(spec, models, run, batch)
    done = [await sample_step(client, graphs.at(step), step, report, timeout) for step in steps]
    images = tuple(image for part in done for image in part.images)
    notes = dict.fromkeys(note for part in done for note in part.notes)
    return Sweep(graphs.spec, tuple(dict.fromkeys(image.step for image in images)), images, tuple(notes))


async def sample_step(
    client: HostClient,
    workflow: Workflow,
    step: int | None,
    report: Report | None = None,
    timeout: float | None = None,
) -> Sweep:
    """Sample the graph of one training step, as `sweep` does each of its steps."""
    if report is not None:
        report(workflow, None)
    tell = None if report is None else functools.partial(report, workflow)
    result = await run_through(client, fix_times(workflow.api()), tell, timeout)
    shown = -1 if step is None else step
    return Sweep(workflow.spec, (shown,), tuple(_collect(workflow, result, shown)), tuple(workflow.notes))


def _collect(workflow: Workflow, result: PromptResult, step: int) -> list[SweepImage]:
    """Pair the savers' images with the spec's items; HostError where a saver wrote another number of images."""
    refs: dict[int, ImageRef] = {}
    texts: dict[ImageRef, ImageRef] = {}
    for node, indices in workflow.saves.items():
        written = result.images.get(node, ())
        if len(written) != len(indices):
            raise HostError(
                f"{len(indices)} images were to be saved, {len(written)} were",
                remedy="Read ComfyUI's log; is the pack there the same version as here?",
                kind="protocol",
                node=node,
            )
        refs.update(zip(indices, written, strict=True))
        texts.update(prompt_files_of(result.outputs.get(node, {})))
    return [SweepImage(step, item, refs[item.index], texts.get(refs[item.index])) for item in workflow.spec.items]


class Tally:
    """How far one prompt is, in sampler steps over all its items; feed it every event.

    ComfyUI reports the steps of each Sample node over its whole list.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._steps: Mapping[str, list[int]] = {
            save.replace("save", "sample", 1): [item.steps for item in workflow.spec.items if item.index in indices]
            for save, indices in workflow.saves.items()
        }
        self._done = dict.fromkeys(self._steps, 0.0)
        self.total = sum(item.steps for item in workflow.spec.items)
        self.items = len(workflow.spec.items)
        self.work = sum(work((item.width, item.height, item.steps)) for item in workflow.spec.items)

    @property
    def items_done(self) -> int:
        """Items whose last sampler step was reported."""
        return sum(
            sum(end <= self._done[node] for end in itertools.accumulate(steps)) for node, steps in self._steps.items()
        )

    @property
    def picture(self) -> int:
        """The number, from 1, of the picture that is being sampled."""
        ended = sum(
            sum(end < self._done[node] for end in itertools.accumulate(steps)) for node, steps in self._steps.items()
        )
        return min(ended + 1, self.items)

    @property
    def done(self) -> float:
        """Sampler steps done so far, 0..total."""
        return sum(self._done.values())

    def feed(self, event: Event) -> None:
        """Take an event into account; all but the samplers' progress are ignored."""
        if isinstance(event, StepProgress) and event.node in self._steps and event.maximum:
            share = min(event.value / event.maximum, 1.0)
            self._done[event.node] = max(self._done[event.node], share * sum(self._steps[event.node]))


async def fetch(
    client: HostClient, done: Sweep, folder: Path, local_output: Path | None = None
) -> dict[SweepImage, Path]:
    """Bring the images (and prompt files) of a sweep into `folder`, in the trainer's layout; where each is there.

    local_output: ComfyUI's output folder where it is on this machine; images already below `folder` are left alone.
    """
    files: dict[SweepImage, Path] = {}
    for image in done.images:
        relative = Path(image.ref.subfolder) / image.ref.filename
        target = folder / relative
        if local_output is None or (local_output / relative).absolute() != target.absolute():
            if image.text is not None:  # first: a picture that is there counts as done, its prompt file included
                await client.download(image.text, target.with_suffix(".txt"))
            await client.download(image.ref, target)
        files[image] = target
    return files
