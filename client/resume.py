"""What of a sweep is on disk already, so that running it again makes only the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LoraError
from ..lora import Checkpoint
from ..lora.fingerprint import fingerprint
from ..protocol.graph_marks import saver_marks
from ..spec import SampleSpec
from ..workflows import build
from ..workflows.models import Models
from .runs import checkpoints_here, possible_names
from .sample_records import Samples, find_samples, samples_root


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs. spec: with every seed drawn. samples: the images that are there. notes: of its graphs.

    todo: indices of the items to sample, by training step, in the order to run; steps with nothing to do are left out.
    batch: the most samples to denoise at once.
    """

    spec: SampleSpec
    samples: Samples
    todo: dict[int | None, list[int]]
    notes: list[str]
    batch: int = 1

    @property
    def images(self) -> int:
        """How many images are to be made."""
        return sum(map(len, self.todo.values()))


def plan_sweep(
    spec: SampleSpec,
    steps: Sequence[int | None],
    folder: Path,
    *,
    models: Models = None,
    run: str | None = None,
    again: bool = False,
    batch: int = 1,
) -> Plan:
    """Compare the images below `folder` with what a sweep would make.

    An image is kept where its own record and graph say that it is what the sweep would make: prompt and all settings,
    training step, LoRA run, model files, and the checkpoint's content where its file is on this machine. Seeds that
    the config leaves to chance are taken from images of an earlier run of the sweep, else drawn. steps: as in `sweep`;
    None = the newest checkpoint, which is always sampled. run: a folder or a name, see `runs.host_run_name`; no host
    is asked. again: keep nothing. batch: as in `sweep`; another one than the image was made with is another setting.
    Raises WorkflowError.
    """
    marks, contents = StepMarks(spec, models, run, batch), CheckpointFiles(checkpoints_here(run))
    if not again and any(item.seed is None for item in spec.items):
        seeds = find_samples(folder, spec, marks, contents).seeds()
        items = [item if item.seed is not None else replace(item, seed=seeds.get(item.index)) for item in spec.items]
        spec = replace(spec, items=items)
    notes: list[str] = []
    for step in steps:
        workflow = build(spec, models, run, step, batch=batch)
        spec = workflow.spec
        notes += [note for note in workflow.notes if note not in notes]
    nothing = Samples(samples_root(folder, spec), spec, None, contents)
    samples = nothing if again else find_samples(folder, spec, marks, contents)
    notes += unsure_note(samples)
    every = [item.index for item in spec.items]
    todo = {step: every if step is None else samples.missing(step) for step in steps}
    return Plan(spec, samples, {step: indices for step, indices in todo.items() if indices}, notes, batch)


def unsure_note(samples: Samples) -> list[str]:
    """What to say of images that may be of another checkpoint of the same step; [] where there are none."""
    count = samples.unsure()
    if not count:
        return []
    return [
        f"{count} images do not say of which checkpoint they are (EriSaveSamples had no details of EriLoraAtStep's); "
        "they count as made, and --again makes them anew."
    ]


class StepMarks:
    """The marks (see `graph_marks`) of a spec's items at any training step, with one base model and one LoRA run.

    run: a folder or a name; every name under which a host may offer it counts.
    """

    def __init__(self, spec: SampleSpec, models: Models = None, run: str | Path | None = None, batch: int = 1) -> None:
        self._spec, self._models, self._run, self._batch = spec, models, run, batch
        self._steps: dict[int, dict[int, set[str]]] = {}

    def __call__(self, step: int, index: int) -> Collection[str]:
        """The marks of the graphs that would make this sample; none where the spec has no such item."""
        if step not in self._steps:
            self._steps[step] = self._marks(step)
        return self._steps[step].get(index, ())

    def _marks(self, step: int) -> dict[int, set[str]]:
        names = [None] if self._run is None else possible_names(self._run)
        workflow = build(self._spec, self._models, names[0], step, batch=self._batch)
        found: dict[int, set[str]] = {item.index: set() for item in workflow.spec.items}
        graph = workflow.api()
        for name in names:
            for node in graph.values():
                if node["class_type"] == "EriLoraAtStep":
                    node["inputs"]["run"] = name
            marks = saver_marks(graph)
            for saver, items in workflow.saves.items():
                for item in items:
                    found[item].add(marks[saver])
        return found


class CheckpointFiles:
    """What the checkpoint files on this machine hold now, by training step."""

    def __init__(self, checkpoints: Iterable[Checkpoint] = ()) -> None:
        self.update(checkpoints)

    def update(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Take these instead of those before."""
        self._paths = {entry.step: entry.path for entry in checkpoints}

    def __call__(self, step: int) -> str | None:
        """The fingerprint of a step's file, None = there is none here."""
        path = self._paths.get(step)
        if path is None:
            return None
        try:
            return fingerprint(path)
        except LoraError:  # trainers delete old checkpoints
            return None
