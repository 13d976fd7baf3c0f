"""The samples that a trainer saved itself: files with its own names below the run's folder, and SerenityBoard's.

No picture is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ImagesError
from ..spec.model import SampleItem, SampleSpec
from ..trainers import TRAINERS, layout_owner
from ..whole_files import written_at
from .found import MAX_FILES
from .inner_texts import is_ours
from .saved_names import SavedName
from .serenity_board import DATABASE, BoardImage, board_images

if TYPE_CHECKING:
    from ..lora import Checkpoint

#: Tags on a board: EriTrainer bin/train_sd35.rs, train_chroma.rs; OneTrainer modules/trainer/GenericTrainer.py.
_TAGS: Final = (
    SavedName(r"samples/p(?P<number>[0-9]+)"),
    SavedName(r"sample(?P<index>[0-9]+) - (?P<words>.*)"),
)
_DEPTH: Final = 3  # folders below the run's

Allowed = Callable[[Path], bool]


def _any_file(_: Path) -> bool:
    return True


@dataclass(frozen=True)
class TrainerSample:
    """A picture that a trainer saved.

    Args:
        path: the file.
        index: which item of the spec it is.
        step, epoch: when it was made; both None where its name does not say it.
        run: the run that its name says, None where it says none.
        problem: why it is not the item that the config has now, "" = its name says nothing of the kind.
        order: larger for what was saved later.
    """

    path: Path
    index: int
    step: int | None = None
    epoch: int | None = None
    run: str | None = None
    problem: str = ""
    order: tuple[str, int] = ("", 0)


def trainer_samples(folder: Path, spec: SampleSpec, allowed: Allowed = _any_file) -> list[TrainerSample]:
    """The samples below a run's folder that bear the trainer's own names, then those on its board; the newest first.

    Pictures that this pack saved under the same names are among them; they say so themselves.

    Args:
        folder: the run's folder, or the folder of samples in it.
        spec: whose layout and items count. Files of numbers that it does not have are left out.
        allowed: whether a file, which may be a link, may be read; others are left out.

    Raises ImagesError where the folder is none, or the layout's trainer is not known.
    """
    if not folder.is_dir():
        raise ImagesError("no such folder", place=str(folder), remedy="Name the trainer's output folder of this run.")
    trainer = layout_owner(spec.layout)
    if trainer is None:
        raise ImagesError(f"nobody knows how {spec.layout!r} names its samples. Known: {', '.join(TRAINERS)}")
    items = {item.index: item for item in spec.items}
    found = []
    for path in _files(folder):
        relative = path.relative_to(folder).as_posix()
        said = next(
            (said for name in trainer.saved for place in (relative, f"{folder.name}/{relative}")
             if (said := name.read(place)) is not None),
            None,
        )  # fmt: skip
        index = None if said is None else _index(said, spec)
        written = written_at(path) if said is not None and index in items and allowed(path) else None
        if said is not None and index in items and written is not None:
            found.append(_sample(path, said, items[index], written))
    found.sort(key=lambda sample: sample.order, reverse=True)
    images = board_images(folder) if allowed(folder / DATABASE) else []
    shown = (sample for image in images for sample in _of_board(image, spec))
    return [*found, *(sample for sample in shown if allowed(sample.path))]


def own_by_step(
    samples: Iterable[TrainerSample], checkpoints: Sequence[Checkpoint]
) -> dict[int, list[TrainerSample]]:
    """The samples by training step, without those that this pack saved.

    A name without a step is of the newest checkpoint, as far as one can know; an epoch is that of a checkpoint's name.
    """
    epochs = {entry.epoch: entry.step for entry in checkpoints if entry.epoch is not None and entry.step is not None}
    newest = max((entry.step for entry in checkpoints if entry.step is not None), default=None)
    found: dict[int, list[TrainerSample]] = {}
    for sample in samples:
        step = sample.step
        if step is None:
            step = newest if sample.epoch is None else epochs.get(sample.epoch)
        if step is not None and not is_ours(sample.path):
            found.setdefault(step, []).append(sample)
    return found


def own_samples(
    folder: Path,
    spec: SampleSpec,
    checkpoints: Sequence[Checkpoint],
    *,
    shared: bool = False,
    allowed: Allowed = _any_file,
) -> dict[tuple[int, int], TrainerSample]:
    """(step, item index) -> the trainer's own sample of this run; of several the newest that fits the config.

    shared: samples of other runs lie there, too, so that only those count whose names tell their run. allowed: as for
    `trainer_samples`.

    Raises ImagesError as `trainer_samples` does.
    """
    runs = (spec.name,) if shared else (None, spec.name)
    found = [sample for sample in trainer_samples(folder, spec, allowed) if sample.run in runs]
    own: dict[tuple[int, int], TrainerSample] = {}
    for step, samples in own_by_step(found, checkpoints).items():
        for sample in sorted(samples, key=lambda sample: bool(sample.problem)):
            own.setdefault((step, sample.index), sample)
    return {place: own[place] for place in sorted(own)}


def _of_board(image: BoardImage, spec: SampleSpec) -> Iterator[TrainerSample]:
    said = next((said for name in _TAGS if (said := name.read(image.tag)) is not None), None)
    item = None if said is None else next((item for item in spec.items if item.index == _index(said, spec)), None)
    if said is not None and item is not None and image.path.is_file():
        words = said if image.prompt is None else {**said, "words": image.prompt}
        yield TrainerSample(image.path, item.index, image.step, problem=_problem(words, item))


def _index(said: dict[str, str], spec: SampleSpec) -> int | None:
    if "label" in said:
        return next((item.index for item in spec.items if item.label == said["label"]), None)
    return int(said["number"]) - 1 if "number" in said else int(said.get("index", 0))


def _sample(path: Path, said: dict[str, str], item: SampleItem, written: int) -> TrainerSample:
    step, epoch = (int(said[name]) if name in said else None for name in ("step", "epoch"))
    order = (said.get("time", ""), written)
    return TrainerSample(path, item.index, step, epoch, said.get("run"), _problem(said, item), order)


def _problem(said: dict[str, str], item: SampleItem) -> str:
    if "seed" in said and item.seed is not None and int(said["seed"]) != item.seed:
        return f"its name says seed {said['seed']}, the config says {item.seed}"
    if "words" in said and not _plain(item.prompt).startswith(_plain(said["words"])):
        return "it was made of another prompt"
    return ""


def _plain(text: str) -> str:
    """Letters and digits alone: what every trainer keeps of a prompt in a name."""
    return "".join(filter(str.isalnum, text))


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, links and hidden folders aside; of more than MAX_FILES, the first."""
    seen = 0
    for place, folders, names in os.walk(folder):
        deep = len(Path(place).relative_to(folder).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            seen += 1
            if seen > MAX_FILES:
                return
            yield Path(place, name)
