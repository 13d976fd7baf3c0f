"""A gallery's favourites and rejects: those of each variant in `eridiffusion.json` beside its pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..compare.collection import Collection
from ..errors import CompareError, RequestError
from ..workflows.run_memory import Mark, RunMemory, memory_file, read_memory, write_memory

#: A file is read, changed and written by one at a time.
_WRITING: Final = threading.Lock()
_MARKS: Final[Mapping[object, Mark | None]] = {"favourite": "favourite", "reject": "reject", None: None}
_MAX_BYTES: Final = 8 << 20


class KeptMarks:
    """The marks of a collection. memory: the file of the pictures without axes; None = the one beside them."""

    def __init__(self, found: Collection, memory: Path | None = None) -> None:
        self._run = found.name
        places = {variant.key: memory_file(found.root / variant.key) for variant in found.variants}
        self._files = {**places, "": memory or memory_file(found.root)}

    def all(self) -> list[dict[str, Any]]:
        """All marks, as the page takes them. CompareError where a file is none."""
        return [
            {**({"variant": key} if key else {}), "step": step, "item": item, "mark": mark}
            for key, path in self._files.items()
            for (step, item), mark in sorted(_read(path).marks.items())
        ]

    def keep(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep one mark: {variant, step, item, mark}, null takes it away. CompareError where it is none of this run."""
        step, item, mark = entry.get("step"), entry.get("item"), entry.get("mark", "")
        path = self._files.get(str(entry.get("variant", "")))
        numbers = isinstance(step, int) and isinstance(item, int)
        if path is None or not numbers or not isinstance(mark, str | None) or mark not in _MARKS:
            said = json.dumps(dict(entry))[:120]
            raise CompareError(f"{said} is no mark of a picture of {self._run!r}", remedy="Open the gallery anew.")
        with _WRITING:
            memory = _read(path)
            changed = memory.marked(int(step or 0), int(item or 0), _MARKS[mark])
            if changed != memory:
                write_memory(path, changed)
        return {"kept": True}

    def take(self, path: Path) -> int:
        """Keep the marks of a file that a gallery saved; how many. CompareError where it is none of this run."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError(f"it has more than {_MAX_BYTES} bytes")
            document = json.loads(path.read_text(encoding="utf-8"))
            version, run, marks = document["version"], document["run"], list(document["marks"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            remedy = "Name the file that the gallery's button saved."
            raise CompareError(f"this holds no marks of a gallery ({error})", place=str(path), remedy=remedy) from error
        if version != 1:
            remedy = "Use the version of the pack that wrote it."
            raise CompareError(f"marks of version {version!r}; this program reads 1", place=str(path), remedy=remedy)
        if run != self._run:
            remedy = f"Name the file that the gallery of {self._run!r} saved."
            raise CompareError(f"the marks of another run, {run!r}", place=str(path), remedy=remedy)
        for entry in marks:
            self.keep(entry if isinstance(entry, dict) else {})
        return len(marks)


def _read(path: Path) -> RunMemory:
    try:
        return read_memory(path)
    except RequestError as error:
        raise CompareError(error.problem, place=str(path), remedy=error.remedies) from error
