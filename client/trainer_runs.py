"""Which of a trainer's own samples can be made again: those of a training step whose checkpoint is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImagesError
from ..images.trainer_samples import TrainerSample, own_by_step, trainer_samples
from ..lora import Checkpoint, find_checkpoints
from ..lora.checkpoints import refuse_several_runs
from ..spec import SampleSpec

#: Why a sample cannot be compared, by item index: a sentence without paths and prompts.
Problems = dict[int, str]


@dataclass(frozen=True)
class StepSamples:
    """The trainer's samples of one training step.

    Args:
        run: the run folder, or `<folder>/<name>` where the folder holds several runs.
        step: 0 is before training.
        paths: the picture of each item that has one, by item index.
        problems: what keeps the other items from being compared.
    """

    run: Path
    step: int
    paths: dict[int, Path]
    problems: Problems


def samples_at(spec: SampleSpec, run: Path, step: int | None = None, folder: Path | None = None) -> StepSamples:
    """The trainer's samples of a step of a run on this machine, from its folder and from SerenityBoard's.

    Args:
        spec: the config; the trainer's names are those of its layout.
        run: the run folder, or `<folder>/<name>` for one of several runs in a folder; of several, the config's own.
        step: the training step; None = the newest that has samples and a checkpoint.
        folder: where the samples are; None = in the run's folder.

    Raises LoraError where the run is not there, ImagesError where nothing of the step can be compared.
    """
    run, checkpoints = _checkpoints(spec, run)
    place = folder or (run if run.is_dir() else run.parent)
    found = [sample for sample in trainer_samples(place, spec) if sample.run in (None, spec.name)]
    by_step = own_by_step(found, checkpoints)
    if not by_step:
        ours = " (only some that this pack saved)" if found else ""
        raise ImagesError(
            f"holds no sample that {spec.trainer} saved of this config{ours}",
            place=str(place),
            remedy="Name the folder with --samples; the file names must be the trainer's own.",
        )
    made = {entry.step for entry in checkpoints if entry.step is not None} | {0}
    if step is None:
        step = max((one for one in by_step if one in made), default=None)
    if step not in by_step or step not in made:
        raise ImagesError(_nothing_at(step), place=str(place), remedy=_steps(by_step, made))
    return StepSamples(run, step, *_chosen(spec, by_step[step]))


def _checkpoints(spec: SampleSpec, run: Path) -> tuple[Path, list[Checkpoint]]:
    found = find_checkpoints(run)
    own = [entry for entry in found if entry.run == spec.name]
    if own and run.is_dir():
        return run / spec.name, own
    refuse_several_runs(found)
    return run, found


def _chosen(spec: SampleSpec, samples: Sequence[TrainerSample]) -> tuple[dict[int, Path], Problems]:
    """Of several samples of an item, the one that was saved last; those that are of another config last of all."""
    paths: dict[int, Path] = {}
    problems: Problems = {}
    for item in spec.items:
        mine = [sample for sample in samples if sample.index == item.index]
        fitting = [sample for sample in mine if not sample.problem]
        if not mine:
            problems[item.index] = "the trainer saved no sample of it at this step"
        elif not fitting:
            problems[item.index] = f"the sample is of another config: {mine[0].problem}"
        elif item.seed is None:
            problems[item.index] = "the config leaves its seed to chance, so that nobody can make it again"
        else:
            paths[item.index] = fitting[0].path
    return paths, problems


def _nothing_at(step: int | None) -> str:
    at = "any step" if step is None else f"step {step}"
    return f"there are not both samples and a checkpoint of {at}"


def _steps(by_step: Iterable[int], made: Iterable[int]) -> str:
    samples, checkpoints = (", ".join(map(str, sorted(steps))) for steps in (by_step, made))
    return f"There are samples of steps {samples}; checkpoints of steps {checkpoints} (0 = without LoRA)."
