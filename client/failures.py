"""Pictures of a sweep that could not be made, or that are of a checkpoint which is another one by now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..errors import HostError, shorten
from .grid import Grid, Job, Recipe
from .runs import checkpoints_here

#: Kinds of HostError that are the pictures' own: another ComfyUI would fail, too.
_OF_THE_PICTURES: Final = ("execution", "out_of_memory")
_MOST_REASONS: Final = 5

#: Pictures as a sweep has them: a job, and the indices of its items.
Part = tuple[Job, Sequence[int]]
#: A picture that was made: job, index of the item, and fingerprint of its checkpoint.
Content = tuple[Job, int, str | None]


def of_the_pictures(error: HostError) -> bool:
    """Whether an error is of the pictures that were to be made, so that others may still be made."""
    return error.kind in _OF_THE_PICTURES or no_checkpoint(error)


def no_checkpoint(error: HostError) -> bool:
    """Whether ComfyUI has no such run, or no checkpoint of this step in it: trainers delete old ones."""
    return error.kind == "validation" and error.class_type == "EriLoraAtStep"


def is_gone(recipe: Recipe, job: Job) -> bool:
    """Whether the run's folder is on this machine, and holds no checkpoint of the job's step (any more)."""
    run = recipe.run(job.variant)
    if run is None or not Path(run).is_dir():
        return False
    return job.step not in {entry.step for entry in checkpoints_here(run)}


def named(parts: Iterable[Part]) -> str:
    """Pictures as people know them: `step 50 (strength 0.8), samples 0, 2`."""
    names = []
    for job, indices in parts:
        step = "the newest checkpoint" if job.step is None else f"step {job.step}"
        title = f" ({job.variant.title})" if job.variant.values else ""
        names.append(f"{step}{title}, samples {', '.join(map(str, indices))}")
    return shorten(names)


def not_made(parts: Iterable[Part], reasons: Iterable[str], first: HostError | None = None) -> HostError:
    """The error for a sweep that lacks pictures once all others are made.

    Args:
        reasons: Sentences.
        first: What happened first; it says of which kind the error is, and which node is at fault.
    """
    why = list(dict.fromkeys(reasons))
    if len(why) > _MOST_REASONS:
        why[_MOST_REASONS:] = [f"There are {len(why) - _MOST_REASONS} more reasons."]
    error = HostError(
        f"{named(parts)} could not be made. {' '.join(why)}",
        remedy="All others are there. Repeat the command when this is mended: it makes what is missing.",
    )
    if first is not None:  # the reasons say it to people
        error.kind, error.node, error.class_type, error.field = first.kind, first.node, first.class_type, first.field
    return error


def replaced(grid: Grid, contents: Iterable[Content]) -> list[str]:
    """A note for each run whose checkpoints here are not those that pictures were made of; [] where all are.

    Args:
        contents: Of every picture that was made.
    """
    found: dict[str, dict[Job, list[int]]] = {}
    for job, index, content in contents:
        if job.step is not None and grid.plans[job.variant.key].samples.is_another(job.step, content):
            run = grid.recipe.run(job.variant)
            found.setdefault(str(run), {}).setdefault(job, []).append(index)
    return [
        f"{named(jobs.items())}: ComfyUI sampled another checkpoint than the one that is in {run} now. If that was "
        "replaced meanwhile, repeat the command: it makes these pictures again."
        for run, jobs in found.items()
    ]
