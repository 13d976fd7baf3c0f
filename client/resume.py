"""What of a sweep is on disk already, so that running it again makes only the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LoraError
from ..lora import Checkpoint
from ..lora.fingerprint import fingerprint
from ..spec import SampleSpec
from ..workflows.models import Models
from .runs import checkpoints_here
from .sample_records import Samples, samples_by_record, samples_root
from .step_graphs import StepGraphs


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs.

    Args:
        samples: The images that are there already.
        todo: Indices of the items to sample, by training step, in the order to run. Steps with nothing to do are left
            out.
        graphs: The graphs of every step; their spec has every seed drawn.
        notes: What the graphs and the images that are there need to have said of them.
    """

    samples: Samples
    todo: dict[int | None, list[int]]
    graphs: StepGraphs
    notes: list[str]

    @property
    def spec(self) -> SampleSpec:
        """What is sampled, with every seed drawn."""
        return self.graphs.spec

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
    """Compare the images below `folder` with what a sweep would make; no ComfyUI is asked.

    An image is kept where its own record and graph say that it is what the sweep would make: prompt and all settings,
    training step, LoRA run, model files, and the checkpoint's content where its file is on this machine. Seeds that
    the config leaves to chance are taken from images of an earlier run of the sweep; the others are drawn.

    Args:
        steps: As in `sweep`; None is the newest checkpoint, which is always sampled.
        run: A folder or a name, see `runs.host_run_name`.
        again: Whether all images are made anew.
        batch: As in `sweep`. An image that was made with another one is not kept.

    Raises WorkflowError.
    """
    graphs, contents = StepGraphs(spec, models, run, batch), CheckpointFiles(checkpoints_here(run))
    if not again and any(item.seed is None for item in spec.items):
        seeds = samples_by_record(folder, spec, graphs.marks, contents).seeds()
        if seeds:
            items = [replace(item, seed=seeds.get(item.index)) if item.seed is None else item for item in spec.items]
            graphs = StepGraphs(replace(spec, items=items), models, run, batch)
    notes = list(dict.fromkeys(note for step in steps for note in graphs.at(step).notes))
    if again:
        samples = Samples(samples_root(folder, spec), graphs.spec, None, contents)
    else:
        samples = samples_by_record(folder, graphs.spec, graphs.marks, contents)
    notes += unsure_note(samples)
    every = [item.index for item in spec.items]
    todo = {step: every if step is None else samples.missing(step) for step in steps}
    return Plan(samples, {step: indices for step, indices in todo.items() if indices}, graphs, notes)


def unsure_note(samples: Samples) -> list[str]:
    """What to say of images that may be of another checkpoint of the same step; [] where there are none."""
    count = samples.unsure()
    if not count:
        return []
    return [
        f"{count} images do not say of which checkpoint they are (EriSaveSamples had no details of EriLoraAtStep's); "
        "they count as made, and --again makes them anew."
    ]


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
