"""Which config a run's pictures were made with, by what Save Samples wrote into them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import SpecError
from ..spec import SampleItem, SampleSpec
from ..spec.readers import from_json
from ..whole_files import written_at
from .inner_texts import SUFFIXES, read_texts

#: Most pictures opened, the newest first; and the most characters of a record, which holds one sample.
MAX_OPENED: Final = 200
MAX_RECORD: Final = 1 << 16


def recorded_spec(folder: Path, run: str) -> SampleSpec | None:
    """The config that the pictures below a folder of samples say, put together from the items that each shows.

    Only pictures of graphs that loaded a LoRA of `run` count, the newest for each item. None where there is none.
    """
    spec: SampleSpec | None = None
    items: dict[int, SampleItem] = {}
    for path in _newest(folder):
        found = _spec_in(read_texts(path), run)
        if found is None or (spec is not None and (found.name, found.trainer) != (spec.name, spec.trainer)):
            continue
        spec = spec or found
        for item in found.items:
            items.setdefault(item.index, item)
    return None if spec is None else replace(spec, items=[items[index] for index in sorted(items)])


def _newest(folder: Path) -> list[Path]:
    """The newest pictures; links that lead out of the folder are left alone."""
    pictures = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else ()
    found = [(written, path) for path in pictures if (written := written_at(path)) is not None]
    root = folder.resolve()
    inside = (path for _, path in sorted(found, reverse=True) if path.resolve().is_relative_to(root))
    return list(itertools.islice(inside, MAX_OPENED))


def _spec_in(texts: dict[str, str], run: str) -> SampleSpec | None:
    try:
        graph: Any = json.loads(texts.get("prompt", ""))
        runs = {node["inputs"].get("run") for node in graph.values() if node["class_type"] == "EriLoraAtStep"}
        record = texts["eridiffusion_spec"]
        return from_json(record) if run in runs and len(record) <= MAX_RECORD else None
    except (SpecError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # a picture of another program, or one whose texts were cut
