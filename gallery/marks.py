"""A gallery's favourites, rejects and notes: those of each variant in `eridiffusion.json` beside its pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..compare.collection import NEWEST, Collection
from ..errors import CompareError, RequestError
from ..whole_files import read_small
from ..workflows.run_memory import MAX_NOTE, Mark, RunMemory, memory_file, read_memory, write_memory

#: A file is read, changed and written by one at a time.
_WRITING: Final = threading.Lock()
_MARKS: Final[Mapping[object, Mark | None]] = {"favourite": "favourite", "reject": "reject", None: None}
_MAX_BYTES: Final = 8 << 20
#: Above any step and any item, as for requests.
_MOST: Final = 2**31


class KeptMarks:
    """Marks and notes of a collection. memory: the file of the pictures without axes; None = the one beside them."""

    def __init__(self, found: Collection, memory: Path | None = None) -> None:
        self._run = found.name
        places = {variant.key: memory_file(found.root / variant.key) for variant in found.variants}
        self._files = {**places, "": memory or memory_file(found.root)}

    def all(self) -> list[dict[str, Any]]:
        """All marks and notes, as the page takes them. CompareError where a file is none."""
        found = []
        for key, path in self._files.items():
            memory, variant = _read(path), {"variant": key} if key else {}
            for step, item in sorted({*memory.marks, *memory.notes}):
                said = {"mark": memory.marks.get((step, item)), "note": memory.notes.get((step, item))}
                said = {name: value for name, value in said.items() if value is not None}
                found.append({**variant, "step": step, "item": item, **said})
        return found

    def keep(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep {variant, step, item, mark} (null takes it away) or {…, note} ("" does), or both.

        CompareError where it is none of this run.
        """
        self._keep([entry])
        return {"kept": True}

    def _keep(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep all of them, or none where one is none of this run."""
        paths = [self._file_of(entry) for entry in entries]
        with _WRITING:
            before = {path: _read(path) for path in paths}
            after = dict(before)
            for path, entry in zip(paths, entries, strict=True):
                after[path] = _changed(after[path], entry)
            for path, memory in after.items():
                if memory != before[path]:
                    write_memory(path, memory)

    def _file_of(self, entry: Mapping[str, Any]) -> Path:
        """Where an entry belongs. CompareError where it is no mark or note of this run."""
        step, item, mark, note = entry.get("step"), entry.get("item"), entry.get("mark", ""), entry.get("note", "")
        path = self._files.get(str(entry.get("variant", "")))
        numbers = type(step) is int and type(item) is int and NEWEST <= step < _MOST and 0 <= item < _MOST
        is_mark = isinstance(mark, str | None) and (mark in _MARKS or "mark" not in entry)
        is_note = isinstance(note, str) and len(note) <= MAX_NOTE
        if path is None or not numbers or not is_mark or not is_note or not {"mark", "note"} & set(entry):
            said = json.dumps(dict(entry))[:120]
            raise CompareError(f"{said} is no mark of a picture of {self._run!r}", remedy="Open the gallery anew.")
        return path

    def take(self, path: Path) -> int:
        """Keep what a gallery saved in a file; for how many pictures. CompareError where it is none of this run."""
        try:
            document = json.loads(read_small(path, _MAX_BYTES).decode("utf-8"))
            version, run, marks = document["version"], document["run"], list(document["marks"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            remedy = "Name the file that the gallery's button saved."
            raise CompareError(f"this holds no marks of a gallery ({error})", place=str(path), remedy=remedy) from error
        if version != 1:
            remedy = "Use the version of the pack that wrote it."
            raise CompareError(f"marks of version {version!r}; this program reads 1", place=str(path), remedy=remedy)
        if run != self._run:
            remedy = f"Name the file that the gallery of {self._run!r} saved."
            raise CompareError(f"the marks of another run, {run!r}", place=str(path), remedy=remedy)
        self._keep([entry if isinstance(entry, dict) else {} for entry in marks])
        return len(marks)


def _changed(memory: RunMemory, entry: Mapping[str, Any]) -> RunMemory:
    place = entry["step"], entry["item"]
    if "mark" in entry:
        memory = memory.marked(*place, _MARKS[entry["mark"]])
    return memory.noted(*place, entry["note"]) if "note" in entry else memory


def _read(path: Path) -> RunMemory:
    try:
        return read_memory(path)
    except RequestError as error:
        raise CompareError(error.problem, place=str(path), remedy=error.remedies) from error
