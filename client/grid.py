"""A sweep over several axes: what is there of it, and the jobs that make the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from ..compare.axes import PLAIN, Variant
from ..compare.estimate import Size
from ..compare.manifest import ManifestLine, append, read
from ..images.inner_texts import read_texts
from ..spec import SampleItem, SampleSpec
from ..workflows.models import Models
from .resume import Plan, StepGraphs, plan_sweep
from .sample_records import checkpoint_of, marks_of, pictures_below, samples_root, seed_of, sigmas_of

#: Variant's key, training step (-1 = the newest checkpoint) and item index -> the picture.
Made = dict[tuple[str, int, int], Path]


@dataclass(frozen=True)
class Job:
    """One prompt for ComfyUI: samples of one variant at one training step.

    Args:
        variant: As which the samples are made.
        step: 0 is without LoRA, None is the newest checkpoint.
        indices: Of the items to sample.
        of: The variants of the sweep whose pictures these are: without LoRA those of every strength and run.
    """

    variant: Variant
    step: int | None
    indices: tuple[int, ...]
    of: tuple[Variant, ...]


@dataclass(frozen=True)
class Recipe:
    """What the graphs of a sweep are made of.

    Args:
        spec: Every seed is drawn; control images of this machine have the names by which ComfyUI gets them.
        models: As `workflows.build` takes them.
        runs: The run of each value of the axis `run`, and of "" where it is no axis; a folder or a name.
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
        variants: Its variants.
        plans: What is there of each, by its key; pictures without LoRA are those of `Variant.without_lora`.
        steps: The training steps.
        jobs: What is to be made, in the order in which one ComfyUI loads least.
        control_images: Files of this machine that samples follow, by their names in the graphs.
    """

    root: Path
    recipe: Recipe
    variants: Sequence[Variant]
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
    def images(self) -> int:
        """How many images are to be made."""
        return sum(len(job.indices) for job in self.jobs)

    def sizes(self) -> list[Size]:
        """Width, height and sampling steps of every image that is to be made."""
        items = {item.index: item for item in self.spec.items}
        made = [items[index] for job in self.jobs for index in job.indices]
        return [(item.width, item.height, item.steps) for item in made]

    def kept(self) -> Made:
        """The pictures that are there and still right; those of the newest checkpoint are never."""
        found: Made = {}
        for variant in self.variants:
            for step in self.steps:
                if step is not None:
                    plan = self.plans[_made_as(variant, step).key]
                    there = {index: path for (at, index), path in plan.samples.paths().items() if at == step}
                    lacking = plan.todo.get(step, ())
                    found |= {(variant.key, step, index): there[index] for index in there if index not in lacking}
        return found

    def record_kept(self) -> None:
        """Add what the manifest lacks of the pictures that are there; raises CompareError."""
        variants = {variant.key: variant for variant in self.variants}
        record(
            self.root, self.recipe, {(variants[key], step, at): path for (key, step, at), path in self.kept().items()}
        )


def record(root: Path, recipe: Recipe, cells: Mapping[tuple[Variant, int, int], Path]) -> None:
    """Add what the manifest in `root` lacks of pictures that are there, by what they say of themselves.

    Args:
        cells: Variant, training step and item index -> picture.

    Raises CompareError.
    """
    known = {(line.cell, line.file, line.checkpoint) for line in read(root)}
    lines = []
    for (variant, step, index), path in cells.items():
        texts = read_texts(path)
        marks = marks_of(texts).intersection(recipe.graphs(_made_as(variant, step)).marks(step, index))
        line = replace(
            line_of(recipe.spec, variant, step, index, path.relative_to(root).as_posix()),
            seed=seed_of(texts),
            checkpoint=checkpoint_of(texts),
            graph=next(iter(marks), None),
            sigmas=sigmas_of(texts),
            made=utc(datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)),
        )
        if (line.cell, line.file, line.checkpoint) not in known:
            lines.append(line)
    append(root, lines)


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
    runs = {"": next(iter(runs.values())), **runs}
    plans: dict[str, Plan] = {}
    resolved = spec
    for variant in dict.fromkeys(_made_as(variant, step) for step in steps for variant in variants):
        run = runs[str(variant.values.get("run", ""))]
        own = [step for step in steps if any(_made_as(one, step) == variant for one in variants)]
        plans[variant.key] = plan_sweep(
            resolved, own, folder, models=models, run=run, batch=batch, variant=variant, there=there
        )
        if len(plans) == 1:
            resolved = _resolved(spec, plans[variant.key])
    first = next(iter(plans.values()))
    notes = [note for plan in plans.values() for note in plan.notes]
    recipe = Recipe(resolved, models, dict(runs), batch, {key: plan.graphs for key, plan in plans.items()})
    return Grid(
        first.samples.root, recipe, variants, plans, list(steps), _jobs(variants, plans, steps),
        list(dict.fromkeys(notes)), first.control_images,
    )  # fmt: skip


def _made_as(variant: Variant, step: int | None) -> Variant:
    """The variant as which a picture is made."""
    return variant.without_lora() if step == 0 else variant


def _resolved(spec: SampleSpec, first: Plan) -> SampleSpec:
    """The spec as the config has it, with the seeds and the names of control images of its first plan."""
    told = {item.index: item for item in spec.items}
    items = []
    for item in first.spec.items:
        own = told[item.index]
        seed = item.seed if own.seed is None else own.seed
        items.append(replace(own, seed=seed, control_image=item.control_image))
    return replace(spec, items=items, total=first.spec.total)


def _jobs(variants: Sequence[Variant], plans: Mapping[str, Plan], steps: Sequence[int | None]) -> list[Job]:
    """What is to be made: pictures without LoRA once, then run by run and step by step, so that each LoRA is read once.

    A run's other variants of a step follow each other: only the small tensors of its LoRA change between steps.
    """
    jobs: list[Job] = []
    order: list[tuple[int | None, Sequence[Variant]]] = [(0, variants)] if 0 in steps else []
    for run in dict.fromkeys(variant.values.get("run") for variant in variants):
        own = [variant for variant in variants if variant.values.get("run") == run]
        order += [(step, own) for step in steps if step != 0]
    for step, here in order:
        for made in dict.fromkeys(_made_as(variant, step) for variant in here):
            indices = tuple(plans[made.key].todo.get(step, ()))
            if indices:
                jobs.append(Job(made, step, indices, tuple(one for one in here if _made_as(one, step) == made)))
    return jobs
