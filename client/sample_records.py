"""Which samples of a run are on disk, told by the records that Save Samples puts into every image."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ..compare.collection import pictures_in
from ..errors import HostError
from ..images.inner_texts import KEY, LORA, parsed, read_texts
from ..protocol.graph_marks import saver_marks
from ..spec import SampleItem, SampleSpec

_GRAPH: Final = "prompt"
_DEFAULTS: Final = {entry.name: entry.default for entry in fields(SampleItem) if entry.default is not MISSING}
#: Training step and item index -> marks of the graphs that make this sample now; none where it is none of the spec's.
Marks = Callable[[int, int], Collection[str]]
#: Training step -> fingerprint of its checkpoint as it is now, None = not known here.
Contents = Callable[[int], str | None]
#: An image, and the texts inside it.
Found = tuple[Path, Mapping[str, str]]


@dataclass(frozen=True)
class _Sample:
    """An image of a sample. content: fingerprint of the checkpoint that made it, None = it does not say."""

    path: Path
    content: str | None
    seed: int | None = None


class Samples:
    """The images below `root` that are samples of `spec`, by training step and item.

    Args:
        marks: Only images of graphs like these count; None = whatever graph made them.
        contents: Only images of checkpoints with this content count. One that does not say its checkpoint's counts,
            and `unsure` tells how many do not.
    """

    def __init__(self, root: Path, spec: SampleSpec, marks: Marks | None, contents: Contents) -> None:
        self.root = root
        self._items = {item.index: item for item in spec.items}
        self._marks, self._contents = marks, contents
        self._found: dict[tuple[int, int], _Sample] = {}

    def missing(self, step: int) -> list[int]:
        """Indices of the items to sample for `step`, in the spec's order: those without an image of this checkpoint."""
        now = self._contents(step)
        made = {at[1] for at, found in self._found.items() if at[0] == step and not _differ(found.content, now)}
        return [index for index in self._items if index not in made]

    def paths(self) -> dict[tuple[int, int], Path]:
        """All images, by training step and item index."""
        return {place: found.path for place, found in self._found.items()}

    def seeds(self) -> dict[int, int]:
        """The seed of each item's image of the lowest training step, by item index."""
        found = sorted(self._found.items(), key=lambda entry: entry[0], reverse=True)
        return {index: image.seed for (_, index), image in found if image.seed is not None}

    def forget_old(self, step: int) -> bool:
        """Leave out the images of a checkpoint that is another one by now; whether there were any."""
        now = self._contents(step)
        old = [place for place, found in self._found.items() if place[0] == step and _differ(found.content, now)]
        for place in old:
            del self._found[place]
        return bool(old)

    def unsure(self) -> int:
        """How many images do not say of which checkpoint they are, although it is here to be compared."""
        return sum(
            found.content is None and self._contents(step) is not None for (step, _), found in self._found.items()
        )

    def is_another(self, step: int, content: str | None) -> bool:
        """Whether a checkpoint's content is not that of the one that is here."""
        return _differ(content, self._contents(step))

    def add(self, step: int, images: Mapping[int, Path]) -> None:
        """Take new images, item index -> file; HostError where one lacks its record: a restart would repeat it."""
        for index, path in images.items():
            texts = read_texts(path)
            record = _record(texts)
            if record is None or not self._is_sample(record, step, index):
                raise HostError(
                    f"{path} does not say which sample it is, so that a restart would make it again",
                    remedy="Start ComfyUI without --disable-metadata; use png or webp where prompts are very long.",
                    kind="protocol",
                )
            self._found[step, index] = _Sample(path, checkpoint_of(texts))

    def take(self, path: Path, texts: Mapping[str, str]) -> None:
        """Take an image that is there, if it is a sample of this spec as it is now. texts: those inside it."""
        record = _record(texts) or {}
        step, index = record.get("step"), record.get("index")
        if not (isinstance(step, int) and isinstance(index, int) and self._is_sample(record, step, index)):
            return
        if self._marks is not None and marks_of(texts).isdisjoint(self._marks(step, index)):
            return
        content = checkpoint_of(texts)
        if (step, index) not in self._found or not _differ(content, self._contents(step)):
            self._found[step, index] = _Sample(path, content, seed_of(texts))

    def _is_sample(self, record: Mapping[str, Any], step: int, index: int) -> bool:
        item = self._items.get(index)
        return item is not None and record.get("step") == step and _same(item, record)


def pictures_below(root: Path) -> list[Found]:
    """The images below a run's folder, and what they say of themselves; not the copies in a gallery."""
    return [(path, read_texts(path)) for path in sorted(pictures_in(root))]


def samples_by_record(
    folder: Path, spec: SampleSpec, marks: Marks, contents: Contents, there: Sequence[Found]
) -> Samples:
    """The samples of `spec` below `folder`, the output folder of ComfyUI or of `eri`.

    there: the images below the run's folder.

    An image counts where prompt, size, seed and all other settings are those of the spec (any seed where the spec draws
    one), the marks of its graph are among `marks`, and the content of its checkpoint is that of `contents`; see
    `Samples`. An image that cannot be read does not count.
    """
    found = Samples(samples_root(folder, spec), spec, marks, contents)
    for path, texts in there:
        found.take(path, texts)
    return found


def samples_root(folder: Path, spec: SampleSpec) -> Path:
    """The run's own folder in an output folder."""
    from ..images.template import safe_name

    return folder / safe_name(spec.name)


def _record(texts: Mapping[str, str]) -> dict[str, Any] | None:
    """What Save Samples wrote about an image (run, step and the item's fields); None = no or no readable record."""
    record = parsed(texts.get(KEY))
    return record if "step" in record and "index" in record else None


def seed_of(texts: Mapping[str, str]) -> int | None:
    """The seed that made an image, None = it does not say."""
    seed = (_record(texts) or {}).get("seed")
    return seed if isinstance(seed, int) else None


def sigmas_of(texts: Mapping[str, str]) -> str | None:
    """Hash of the noise levels that an image was sampled at, None = it does not say."""
    said = (_record(texts) or {}).get("sigmas")
    return said if isinstance(said, str) else None


def checkpoint_of(texts: Mapping[str, str]) -> str | None:
    """Fingerprint of the checkpoint that made an image, None = it does not say."""
    said = parsed(texts.get(LORA)).get("fingerprint")
    return said if isinstance(said, str) else None


def _differ(one: str | None, other: str | None) -> bool:
    """Whether two checkpoints are not the same, as far as both are known."""
    return None not in (one, other) and one != other


def marks_of(texts: Mapping[str, str]) -> frozenset[str]:
    """Marks of the graph that made an image: of the graph in it, else (a small JPEG) as the record has them."""
    if _GRAPH in texts:
        return _marks_in(texts[_GRAPH])
    marks = (_record(texts) or {}).get("graph_marks")
    return frozenset(mark for mark in marks if isinstance(mark, str)) if isinstance(marks, list) else frozenset()


@lru_cache(maxsize=16)  # the images of a step carry one and the same graph
def _marks_in(graph: str) -> frozenset[str]:
    return frozenset(saver_marks(parsed(graph)).values())


def _same(item: SampleItem, record: Mapping[str, Any]) -> bool:
    """Whether a record is of this sample; it may be older than some fields, which are what they are by default."""
    missing = object()
    expected = json.loads(json.dumps(vars(item)))
    if item.seed is None:
        expected["seed"] = record.get("seed")
    return all(record.get(name, _DEFAULTS.get(name, missing)) == value for name, value in expected.items())
