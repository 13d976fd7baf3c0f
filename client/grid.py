"""A sweep over several axes: what is there of it, and the jobs that make the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from ..compare.axes import PLAIN, Variant, groups_without_lora
from ..compare.manifest import ManifestLine, append, read
from ..images.inner_texts import read_texts
from ..spec import SampleItem, SampleSpec
from ..workflows.models import Models
from .resume import Plan, StepGraphs, plan_sweep
from .sample_records import checkpoint_of, pictures_below, samples_root

#: Variant's key, training step (-1 = the newest checkpoint) and item index -> the picture.
Made = dict[tuple[str, int, int], Path]


@dataclass(frozen=True)
class Job:
    """One prompt for ComfyUI: samples of one variant at one training step.

    Args:
        step: 0 is without LoRA, None is the newest checkpoint.
        indices: Of the items to sample.
        also: Further variants whose pictures these are, too.
    """

    variant: Variant
    step: int | None
    indices: tuple[int, ...]
    also: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What the graphs of a sweep are made of.

    Args:
        spec: Every seed is drawn; control images of this machine have the names by which ComfyUI gets them.
        models: As `workflows.build` takes them.
        runs: The run of each value of the axis `run`, or of "" where it is no axis; a folder or a name.
        batch: The most samples to denoise at once.
    """

    spec: SampleSpec
    models: Models
    runs: Mapping[str, str | None]
    batch: int = 1
    _graphs: dict[str, StepGraphs] = field(default_factory=dict, compare=False, repr=False)

    def run(self, variant: Variant) -> str | None:
        """The run that a variant's LoRAs are from."""
        return self.runs[str(variant.values.get("run", ""))]

    def graphs(self, variant: Variant) -> StepGraphs:
        """The graphs of a variant, each built once."""
        if variant.key not in self._graphs:
            made = StepGraphs(variant.of(self.spec), self.models, self.run(variant), self.batch, variant.key)
            self._graphs[variant.key] = made
        return self._graphs[variant.key]


@dataclass(frozen=True)
class Grid:
    """A sweep before it runs.

    Args:
        root: The run's folder, with the pictures and the manifest.
        plans: What is there of each variant, by its key.
        steps: The training steps.
        jobs: What is to be made, in the order in which one ComfyUI loads least.
        control_images: Files of this machine that samples follow, by their names in the graphs.
    """

    root: Path
    recipe: Recipe
    plans: Mapping[str, Plan]
    steps: Sequence[int | None]
    jobs: Sequence[Job]
    notes: list[str]
    control_images: Mapping[str, Path]

    @property
    def spec(self) -> SampleSpec:
        """What is sampled, with every seed drawn, as the config has it."""
        return self.recipe.spec

    @property
    def variants(self) -> list[Variant]:
        """The variants, in their order."""
        return [plan.variant for plan in self.plans.values()]

    @property
    def images(self) -> int:
        """How many images are to be made."""
        return sum(len(job.indices) for job in self.jobs)

    def kept(self) -> Made:
        """The pictures that are there and still right; those of the newest checkpoint are never."""
        found: Made = {}
        for plan in self.plans.values():
            for (step, index), path in plan.samples.paths().items():
                if step in self.steps and index not in plan.todo.get(step, ()):
                    found[plan.variant.key, step, index] = path
        if 0 in self.steps:
            for group in groups_without_lora(self.variants):
                keys = {variant.key for variant in group}
                share = {index: path for (key, step, index), path in found.items() if step == 0 and key in keys}
                found |= {(key, 0, index): path for key in keys for index, path in share.items()}
        return found

    def record_kept(self) -> None:
        """Add what the manifest lacks of the pictures that are there; raises CompareError."""
        known = {(line.cell, line.file, line.checkpoint) for line in read(self.root)}
        lines = []
        for (key, step, index), path in self.kept().items():
            variant, texts = self.plans[key].variant, read_texts(path)
            graph = next(iter(self.recipe.graphs(variant).marks(step, index)), None)
            made = datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)
            line = replace(
                line_of(self.spec, variant, step, index, path.relative_to(self.root).as_posix()),
                checkpoint=checkpoint_of(texts), graph=graph, made=utc(made),
            )  # fmt: skip
            if (line.cell, line.file, line.checkpoint) not in known:
                lines.append(line)
        append(self.root, lines)


def line_of(spec: SampleSpec, variant: Variant, step: int | None, index: int, file: str) -> ManifestLine:
    """What the manifest says of a picture beside how it was made."""
    item: SampleItem = next(item for item in variant.of(spec).items if item.index == index)
    return ManifestLine(
        run=spec.name, trainer=spec.trainer, family=spec.family, item=index, prompt=item.prompt,
        negative_prompt=item.negative_prompt, seed=item.seed, width=item.width, height=item.height, step=step,
        axes=variant.values, file=file, sampling_steps=item.steps,
    )  # fmt: skip


def utc(moment: datetime | None = None) -> str:
    """A moment, None = now, as the manifest has it."""
    return (moment or datetime.now(tz=timezone.utc)).isoformat(timespec="seconds")


def plan_grid(
    spec: SampleSpec,
    steps: Sequence[int | None],
    folder: Path,
    variants: Sequence[Variant] = (PLAIN,),
    *,
    models: Models = None,
    runs: Mapping[str, str | None],
    again: bool = False,
    batch: int = 1,
) -> Grid:
    """Compare the images below `folder` with what a sweep over `variants` would make; no ComfyUI is asked.

    See `resume.plan_sweep`, which does it for each variant. Seeds that the config leaves to chance are the same in all
    of them.

    Args:
        runs: As for `Recipe`.

    Raises WorkflowError.
    """
    there = [] if again else pictures_below(samples_root(folder, spec))

    def planned(variant: Variant, spec: SampleSpec) -> Plan:
        run = runs[str(variant.values.get("run", ""))]
        return plan_sweep(
            spec, steps, folder, models=models, run=run, again=again, batch=batch, variant=variant, there=there
        )

    first = planned(variants[0], spec)
    resolved = _resolved(spec, first)
    plans = {variants[0].key: first} | {variant.key: planned(variant, resolved) for variant in variants[1:]}
    notes = [note for plan in plans.values() for note in plan.notes]
    recipe = Recipe(resolved, models, dict(runs), batch, {key: plan.graphs for key, plan in plans.items()})
    return Grid(
        first.samples.root, recipe, plans, list(steps), _jobs(plans, steps), list(dict.fromkeys(notes)),
        first.control_images,
    )  # fmt: skip


def _resolved(spec: SampleSpec, first: Plan) -> SampleSpec:
    """The spec as the config has it, with the seeds and the names of control images of its first plan."""
    told = {item.index: item for item in spec.items}
    items = []
    for item in first.spec.items:
        own = told[item.index]
        seed = item.seed if own.seed is None else own.seed
        items.append(replace(own, seed=seed, control_image=item.control_image))
    return replace(spec, items=items, total=first.spec.total)


def _jobs(plans: Mapping[str, Plan], steps: Sequence[int | None]) -> list[Job]:
    """What is to be made: without LoRA once for all variants that differ only in it, then run by run, step by step."""
    jobs = []
    every = [plan.variant for plan in plans.values()]
    for step in steps:
        if step == 0:
            for first, *others in groups_without_lora(every):
                lacking = [set(plans[variant.key].todo.get(0, ())) for variant in (first, *others)]
                indices = [index for index in plans[first.key].todo.get(0, ()) if all(index in one for one in lacking)]
                if indices:
                    jobs.append(Job(first, 0, tuple(indices), tuple(others)))
    for run in dict.fromkeys(variant.values.get("run") for variant in every):
        for step in steps:
            for plan in plans.values():
                indices = plan.todo.get(step, [])
                if step != 0 and indices and plan.variant.values.get("run") == run:
                    jobs.append(Job(plan.variant, step, tuple(indices)))
    return jobs
