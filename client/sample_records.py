"""Which samples of a run are on disk, told by the record that Save Samples puts into every image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..spec import SampleItem, SampleSpec
from .errors import HostError

_KEY: Final = "eridiffusion"
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")


class Samples:
    """The images below `root` that are samples of `spec`, by training step and item."""

    def __init__(self, root: Path, spec: SampleSpec) -> None:
        self.root = root
        self._items = {item.index: item for item in spec.items}
        self._paths: dict[tuple[int, int], Path] = {}

    def missing(self, step: int) -> list[int]:
        """Indices of the items without an image of `step`, in the spec's order."""
        return [index for index in self._items if (step, index) not in self._paths]

    def steps(self) -> list[int]:
        """Training steps with at least one image, ascending."""
        return sorted({step for step, _ in self._paths})

    def path(self, step: int, index: int) -> Path | None:
        """The image of an item at a step."""
        return self._paths.get((step, index))

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
        record = read_record(path)
        if record is None:
            return
        step, index = record.get("step"), record.get("index")
        if isinstance(step, int) and isinstance(index, int) and self._is_sample(record, step, index):
            self._paths[step, index] = path

    def _is_sample(self, record: Mapping[str, Any], step: int, index: int) -> bool:
        item = self._items.get(index)
        return item is not None and record.get("step") == step and _same(item, record)


def find_samples(folder: Path, spec: SampleSpec) -> Samples:
    """The samples of `spec` below `folder`, the output folder of a host or of `eri`.

    An image counts where prompt, size, seed and all other settings are still those of the spec (any seed where the
    spec draws one); one that is not readable does not.
    """
    from ..images.names import safe_name

    found = Samples(folder / safe_name(spec.name), spec)
    for path in sorted(found.root.rglob("*")) if found.root.is_dir() else ():
        if path.suffix.lower() in _SUFFIXES:
            found.take(path)
    return found


def read_record(path: Path) -> dict[str, Any] | None:
    """What Save Samples wrote about an image (run, step and the item's fields); None = no or no readable record."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            texts = [*_texts(picture)]
    except (UnidentifiedImageError, OSError):
        return None
    for text in texts:
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record and "index" in record:
            return record
    return None


def _texts(picture: Any) -> Iterator[str]:
    """The record's text: a PNG chunk, else an EXIF entry of the form "keyword:text"."""
    if picture.format == "PNG":
        text = picture.info.get(_KEY)
        if isinstance(text, str):
            yield text
        return
    for value in picture.getexif().values():
        if isinstance(value, str) and value.startswith(f"{_KEY}:"):
            yield value.removeprefix(f"{_KEY}:")


def _same(item: SampleItem, record: Mapping[str, Any]) -> bool:
    expected = json.loads(json.dumps(vars(item)))
    if item.seed is None:
        expected["seed"] = record.get("seed")
    return all(name in record and record[name] == value for name, value in expected.items())
