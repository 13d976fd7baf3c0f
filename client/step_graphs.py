"""The graphs of a spec at its training steps: built once, then set to each step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ..protocol.graph_marks import saver_marks
from ..spec import SampleSpec
from ..workflows import Workflow, build
from ..workflows.models import Models
from .runs import possible_names


class StepGraphs:
    """The graphs of one spec at any training step, with one base model and one LoRA run.

    `spec` has every seed drawn as soon as the first graph is made.

    Args:
        run: A folder or a name.
        batch: The most samples to denoise at once.
    """

    def __init__(self, spec: SampleSpec, models: Models = None, run: str | Path | None = None, batch: int = 1) -> None:
        self.spec = spec
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
        return _set(self._built[key], step, run)

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


def _set(workflow: Workflow, step: int | None, run: str | None) -> Workflow:
    """The same graph at another step, and with another name of the run where `run` is one."""
    told = {"step": step or 0, "mode": "latest" if step is None else "exact", **({} if run is None else {"run": run})}
    nodes = {
        name: node._replace(inputs={**node.inputs, **told}) if node.class_type == "EriLoraAtStep" else node
        for name, node in workflow.graph.nodes.items()
    }
    return replace(workflow, graph=replace(workflow.graph, nodes=nodes))
