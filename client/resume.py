"""What of a sweep is on disk already, so that running it again makes only the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..spec import SampleSpec
from ..workflows import build
from ..workflows.models import Models
from .graph_marks import saver_marks
from .sample_records import Samples, find_samples, samples_root


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs. spec: with every seed drawn. samples: the images that are there. notes: of its graphs.

    todo: indices of the items to sample, by training step, in the order to run; steps with nothing to do are left out.
    """

    spec: SampleSpec
    samples: Samples
    todo: dict[int | None, list[int]]
    notes: list[str]

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
) -> Plan:
    """Compare the images below `folder` with what a sweep would make.

    An image is kept where its own record and graph say that it is what the sweep would make: prompt and all settings,
    training step, LoRA run, model files. Seeds that the config leaves to chance are taken from images of an earlier
    run of the sweep, else drawn. steps: as in `sweep`; None = the newest checkpoint, which is always sampled. run: a
    name the host offers. again: keep nothing. Raises WorkflowError.
    """
    marks = StepMarks(spec, models, run)
    if not again and any(item.seed is None for item in spec.items):
        seeds = find_samples(folder, spec, marks).seeds()
        items = [item if item.seed is not None else replace(item, seed=seeds.get(item.index)) for item in spec.items]
        spec = replace(spec, items=items)
    notes: list[str] = []
    for step in steps:
        workflow = build(spec, models, run, step)
        spec = workflow.spec
        notes += [note for note in workflow.notes if note not in notes]
    samples = Samples(samples_root(folder, spec), spec) if again else find_samples(folder, spec, marks)
    every = [item.index for item in spec.items]
    todo = {step: every if step is None else samples.missing(step) for step in steps}
    return Plan(spec, samples, {step: indices for step, indices in todo.items() if indices}, notes)


class StepMarks:
    """The marks (see `graph_marks`) of a spec's items at any training step, with one base model and one LoRA run."""

    def __init__(self, spec: SampleSpec, models: Models = None, run: str | None = None) -> None:
        self._spec, self._models, self._run = spec, models, run
        self._steps: dict[int, dict[int, str]] = {}

    def __call__(self, step: int, index: int) -> str | None:
        """The mark of the graph that would make this sample, None = the spec has no such item."""
        if step not in self._steps:
            workflow = build(self._spec, self._models, self._run, step)
            marks = saver_marks(workflow.api())
            self._steps[step] = {item: marks[node] for node, items in workflow.saves.items() for item in items}
        return self._steps[step].get(index)
