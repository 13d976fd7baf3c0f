"""Which samples of a run are on disk, told by the records that Save Samples puts into every image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ..spec import SampleItem, SampleSpec
from .errors import HostError
from .graph_marks import saver_marks

_KEY: Final = "eridiffusion"
_GRAPH: Final = "prompt"
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
#: Training step and item index -> mark of the graph that makes this sample now, None = it is none of those.
Marks = Callable[[int, int], str | None]


class Samples:
    """The images below `root` that are samples of `spec`, by training step and item.

    marks: only images of graphs like these count, None = whatever graph made them.
    """

    def __init__(self, root: Path, spec: SampleSpec, marks: Marks | None = None) -> None:
        from ..images.layouts import layout_for

        self.root = root
        self._items = {item.index: item for item in spec.items}
        self._counted_names = "{nth}" in layout_for(spec.layout).template
        self._marks = marks
        self._paths: dict[tuple[int, int], Path] = {}
        self._seeds: dict[tuple[int, int], int] = {}

    def missing(self, step: int) -> list[int]:
        """Indices of the items to sample for `step`, in the spec's order: those without an image.

        Where the layout numbers the first image of a step only if there are several, it is never made alone.
        """
        indices = list(self._items)
        missing = [index for index in indices if (step, index) not in self._paths]
        return [0, indices[1]] if missing == [0] and self._counted_names and len(indices) > 1 else missing

    def steps(self) -> list[int]:
        """Training steps with at least one image, ascending."""
        return sorted({step for step, _ in self._paths})

    def path(self, step: int, index: int) -> Path | None:
        """The image of an item at a step."""
        return self._paths.get((step, index))

    def paths(self) -> dict[tuple[int, int], Path]:
        """All images, by training step and item index."""
        return dict(self._paths)

    def seeds(self) -> dict[int, int]:
        """The seed of each item's image of the lowest training step, by item index."""
        return {index: self._seeds[step, index] for step, index in sorted(self._seeds, reverse=True)}

    def add(self, step: int, images: Mapping[int, Path]) -> None:
        """Take new images, item index -> file; HostError where one lacks its record: a restart would repeat it."""
        for index, path in images.items():
            record = read_record(path)
            if record is None or not self._is_sample(record, step, index):
                raise HostError(
                    f"{path} does not say which sample it is, so that a restart would make it again",
                    remedy="Start the host without --disable-metadata; use png or webp where prompts are very long.",
                    kind="protocol",
                )
            self._paths[step, index] = path

    def take(self, path: Path) -> None:
        """Take an image that is there, if it is a sample of this spec as it is now."""
        found = read_texts(path)
        record = _record(found)
        if record is None:
            return
        step, index = record.get("step"), record.get("index")
        if not (isinstance(step, int) and isinstance(index, int) and self._is_sample(record, step, index)):
            return
        if self._marks is not None and self._marks(step, index) not in _marks_in(found.get(_GRAPH)):
            return
        self._paths[step, index] = path
        if isinstance(record.get("seed"), int):
            self._seeds[step, index] = record["seed"]

    def _is_sample(self, record: Mapping[str, Any], step: int, index: int) -> bool:
        item = self._items.get(index)
        return item is not None and record.get("step") == step and _same(item, record)


def find_samples(folder: Path, spec: SampleSpec, marks: Marks | None = None) -> Samples:
    """The samples of `spec` below `folder`, the output folder of a host or of `eri`.

    An image counts where prompt, size, seed and all other settings are still those of the spec (any seed where the
    spec draws one), and with `marks` where also models, LoRA and the rest of the graph are; one that is not readable
    does not.
    """
    found = Samples(samples_root(folder, spec), spec, marks)
    for path in sorted(found.root.rglob("*")) if found.root.is_dir() else ():
        if path.suffix.lower() in _SUFFIXES:
            found.take(path)
    return found


def samples_root(folder: Path, spec: SampleSpec) -> Path:
    """The run's own folder in an output folder."""
    from ..images.names import safe_name

    return folder / safe_name(spec.name)


def read_record(path: Path) -> dict[str, Any] | None:
    """What Save Samples wrote about an image (run, step and the item's fields); None = no or no readable record."""
    return _record(read_texts(path))


def read_texts(path: Path) -> dict[str, str]:
    """The texts inside an image that Save Samples may have written, by keyword; {} for what is no readable image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.format == "PNG":  # text chunks
                return {
                    key: text for key, text in picture.info.items() if isinstance(key, str) and isinstance(text, str)
                }
            values = [value for value in picture.getexif().values() if isinstance(value, str)]  # "keyword:text"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return {}
    return {key: text for key, colon, text in (value.partition(":") for value in values) if colon}


def _record(texts: Mapping[str, str]) -> dict[str, Any] | None:
    record = _parsed(texts.get(_KEY))
    return record if record is not None and "step" in record and "index" in record else None


@lru_cache(maxsize=16)  # the images of a step carry one and the same graph
def _marks_in(graph: str | None) -> frozenset[str]:
    return frozenset(saver_marks(_parsed(graph) or {}).values())


def _parsed(text: str | None) -> dict[str, Any] | None:
    try:
        document = json.loads(text or "")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _same(item: SampleItem, record: Mapping[str, Any]) -> bool:
    expected = json.loads(json.dumps(vars(item)))
    if item.seed is None:
        expected["seed"] = record.get("seed")
    return all(name in record and record[name] == value for name, value in expected.items())
