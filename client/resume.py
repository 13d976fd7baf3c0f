"""The plan of a sweep: its graphs at each training step, and what of it is on disk already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..compare.axes import PLAIN, Variant
from ..errors import LoraError
from ..images.layouts import template_in
from ..lora import Checkpoint
from ..lora.fingerprint import fingerprint
from ..protocol.graph_marks import saver_marks
from ..spec import SampleSpec
from ..workflows import Workflow, build
from ..workflows.graph import Literal, Node
from ..workflows.models import Models
from ..workflows.stock import averaged
from .control_images import named_by_content
from .runs import checkpoints_here, possible_names
from .sample_records import Found, Samples, pictures_below, samples_by_record, samples_root


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs.

    Args:
        samples: The images that are there already.
        todo: Indices of the items to sample, by training step, in the order to run. Steps with nothing to do are left
            out.
        graphs: The graphs of every step; their spec has every seed drawn.
        notes: What the graphs and the images that are there need to have said of them.
        control_images: Files of this machine that samples follow, by their names in the graphs.
    """

    samples: Samples
    todo: dict[int | None, list[int]]
    graphs: StepGraphs
    notes: list[str]
    control_images: dict[str, Path]

    @property
    def spec(self) -> SampleSpec:
        """What is sampled, with every seed drawn."""
        return self.graphs.spec


def plan_sweep(
    spec: SampleSpec,
    steps: Sequence[int | None],
    folder: Path,
    *,
    models: Models = None,
    run: str | None = None,
    batch: int = 1,
    variant: Variant = PLAIN,
    there: Sequence[Found] | None = None,
) -> Plan:
    """Compare the images below `folder` with what a sweep would make; no ComfyUI is asked.

    An image is kept where its own record and graph say that it is what the sweep would make: prompt and all settings,
    training step, LoRA run, model files, and the checkpoint's content where its file is on this machine. Seeds that
    the config leaves to chance are taken from images of an earlier run of the sweep; the others are drawn.

    Args:
        steps: As in `sweep`; None is the newest checkpoint, which is always sampled.
        run: A folder or a name, see `runs.host_run_name`.
        batch: As in `sweep`. An image that was made with another one is not kept.
        variant: Of several that are planned, which this is: its values are put into the spec.
        there: The images that may be kept, None = all below the run's folder.

    Raises WorkflowError.
    """
    spec, control = named_by_content(variant.of(spec))
    there = pictures_below(samples_root(folder, spec)) if there is None else there
    graphs = StepGraphs(spec, models, run, batch, variant.key)
    contents = CheckpointFiles(checkpoints_here(run))
    if any(item.seed is None for item in spec.items):
        seeds = samples_by_record(folder, spec, graphs.marks, contents, there).seeds()
        if seeds:
            items = [replace(item, seed=seeds.get(item.index)) if item.seed is None else item for item in spec.items]
            graphs = StepGraphs(replace(spec, items=items), models, run, batch, variant.key)
    notes = list(dict.fromkeys(note for step in steps for note in graphs.at(step).notes))
    samples = samples_by_record(folder, graphs.spec, graphs.marks, contents, there)
    notes += unsure_note(samples)
    every = [item.index for item in spec.items]
    todo = {step: every if step is None else samples.missing(step) for step in steps}
    todo = {step: indices for step, indices in todo.items() if indices}
    return Plan(samples, todo, graphs, notes, control)


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


class StepGraphs:
    """The graphs of one spec at any training step, with one base model and one LoRA run.

    `spec` has every seed drawn as soon as the first graph is made.

    Args:
        run: A folder or a name.
        batch: The most samples to denoise at once.
        place: Folder in the run's folder that the pictures lie in, "" = none of their own.
    """

    def __init__(
        self,
        spec: SampleSpec,
        models: Models = None,
        run: str | Path | None = None,
        batch: int = 1,
        place: str = "",
    ) -> None:
        self.spec = spec
        self._template = template_in(spec.layout, spec.family, place) if place else ""
        self._models, self._run, self._batch = models, None if run is None else str(run), batch
        self._built: dict[tuple[tuple[int, ...], int | None], Workflow] = {}
        self._marks: dict[int, dict[int, set[str]]] = {}

    def at(self, step: int | None, run: str | None = None, only: Sequence[int] | None = None) -> Workflow:
        """The graph of a training step, as `workflows.build` makes it; steps differ only in what EriLoraAtStep loads.

        Args:
            step: 0 is without LoRA, None is the newest checkpoint.
            run: The name by which ComfyUI knows the run; None keeps the one given at the start.
            only: Indices of the items to sample; None is all of them.

        Raises WorkflowError.
        """
        every = tuple(item.index for item in self.spec.items)
        indices = every if only is None else tuple(only)
        has_lora = self._run is not None or bool(step)
        key = (indices, -1 if has_lora else step)
        if key not in self._built:
            spec = self.spec.part([item for item in self.spec.items if item.index in indices])
            self._built[key] = build(spec, self._models, self._run, step, batch=self._batch)
            if indices == every:
                self.spec = self._built[key].spec
        return _set(self._built[key], step, run, averaged(self._run or self.spec.name), self._template)

    def marks(self, step: int, index: int) -> Collection[str]:
        """The marks (see `graph_marks`) of the graphs that would make this sample; none where the spec lacks the item.

        Every name under which a ComfyUI may offer the run counts.
        """
        if step not in self._marks:
            self._marks[step] = self._marks_at(step)
        return self._marks[step].get(index, ())

    def _marks_at(self, step: int) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {item.index: set() for item in self.spec.items}
        for name in [None] if self._run is None else possible_names(self._run):
            workflow = self.at(step, name)
            marks = saver_marks(workflow.api())
            for saver, items in workflow.saves.items():
                for item in items:
                    found[item].add(marks[saver])
        return found


def _set(workflow: Workflow, step: int | None, run: str | None, average: str, template: str) -> Workflow:
    """The same graph at another step, with another name of the run where `run` is one, and with this file name.

    average: what the graph calls the run's averaged weights.
    """
    told: dict[str, Literal] = {"step": step or 0, "mode": "latest" if step is None else "exact"}

    def named(node: Node) -> dict[str, Literal]:
        return {} if run is None else {"run": averaged(run) if node.inputs["run"] == average else run}

    def changed(node: Node) -> Node:
        if node.class_type == "EriLoraAtStep":
            return node._replace(inputs={**node.inputs, **told, **named(node)})
        if node.class_type == "EriSaveSamples":
            return node._replace(inputs={**node.inputs, "template": template})
        return node

    nodes = {name: changed(node) for name, node in workflow.graph.nodes.items()}
    return replace(workflow, graph=replace(workflow.graph, nodes=nodes))
