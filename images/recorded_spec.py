"""Which config a run's pictures were made with, by what Save Samples wrote into them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import SpecError
from ..spec import SampleItem, SampleSpec
from ..spec.readers import from_json
from .inner_texts import SUFFIXES, read_texts

#: Most pictures opened, the newest first.
MAX_OPENED: Final = 200


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
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)[:MAX_OPENED]


def _spec_in(texts: dict[str, str], run: str) -> SampleSpec | None:
    try:
        graph: Any = json.loads(texts.get("prompt", ""))
        runs = {node["inputs"].get("run") for node in graph.values() if node["class_type"] == "EriLoraAtStep"}
        return from_json(texts["eridiffusion_spec"]) if run in runs else None
    except (SpecError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # a picture of another program, or one whose texts were cut
