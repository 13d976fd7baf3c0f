"""What is kept with a run in one small JSON file: which config is its, and a person's favourites, rejects and notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import RequestError
from ..whole_files import as_bytes, read_small, write_whole

#: The file in the run's folder; of one of several runs in a folder `<run>.eridiffusion.json`.
FILE: Final = "eridiffusion.json"
VERSION: Final = 1
#: Most bytes of it.
MAX_BYTES: Final = 8 << 20
#: Most characters of a note.
MAX_NOTE: Final = 2000
Mark = Literal["favourite", "reject"]


@dataclass(frozen=True)
class RunMemory:
    """What a run's file holds.

    Args:
        file: a config file's name as ComfyUI opens it, "" = none.
        source: what to call the config that `spec` was read from.
        spec: the config itself in the native form, where it came without a file that could be read again.
        marks: (step, item index) -> mark.
        notes: (step, item index) -> what somebody wrote about a sample.
    """

    file: str = ""
    source: str = ""
    spec: Mapping[str, Any] | None = None
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    notes: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def marked(self, step: int, item: int, mark: Mark | None) -> RunMemory:
        """The same with this mark on a sample; None takes it away."""
        kept = {place: old for place, old in self.marks.items() if place != (step, item)}
        return replace(self, marks=kept if mark is None else {**kept, (step, item): mark})

    def noted(self, step: int, item: int, note: str) -> RunMemory:
        """The same with this note on a sample; "" takes it away."""
        kept = {place: old for place, old in self.notes.items() if place != (step, item)}
        return replace(self, notes={**kept, (step, item): note.strip()} if note.strip() else kept)

    def of_config(self, file: str = "", source: str = "", spec: Mapping[str, Any] | None = None) -> RunMemory:
        """The same with another config, or with none."""
        return replace(self, file=file, source=source, spec=spec)


def memory_file(place: Path, name: str = FILE) -> Path:
    """The file that is kept with the run at `place`, a folder or (one of several runs in a folder) a name in one."""
    return place / name if place.is_dir() else place.with_name(f"{place.name}.{name}")


def read_memory(path: Path) -> RunMemory:
    """What is kept; nothing where there is no file. RequestError 422 where the file is not of this form."""
    try:
        document = json.loads(read_small(path, MAX_BYTES).decode("utf-8"))
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError(f"it does not say version {VERSION}")
        config, marks = document.get("config") or {}, document.get("marks") or []
        spec = config.get("spec")
        if not (spec is None or isinstance(spec, dict)):
            raise ValueError("spec is no object")
        found = {(int(entry["step"]), int(entry["item"])): _mark(entry["mark"]) for entry in marks}
        notes = {(int(entry["step"]), int(entry["item"])): str(entry["note"]) for entry in document.get("notes") or []}
        return RunMemory(str(config.get("file", "")), str(config.get("source", "")), spec, found, notes)
    except FileNotFoundError:
        return RunMemory()
    except (OSError, ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        remedy = "Mend it, or delete it: the run's config, marks and notes are then made anew."
        raise RequestError(422, "run_file", f"{path.name} cannot be read ({error})", remedy=remedy) from error


def _mark(text: object) -> Mark:
    if text == "favourite":
        return "favourite"
    if text == "reject":
        return "reject"
    raise ValueError(f"{text!r} is no mark")


def marks_in(memory: RunMemory) -> list[dict[str, Any]]:
    """The marks as the file, and the route, list them."""
    return [{"step": step, "item": item, "mark": mark} for (step, item), mark in sorted(memory.marks.items())]


def notes_in(memory: RunMemory) -> list[dict[str, Any]]:
    """The notes as the file, and the route, list them."""
    return [{"step": step, "item": item, "note": note} for (step, item), note in sorted(memory.notes.items())]


def write_memory(path: Path, memory: RunMemory) -> None:
    """Replace the file by this, whole or not at all. RequestError 422 where the folder takes no files."""
    config: dict[str, Any] = {"file": memory.file} if memory.file else {"source": memory.source, "spec": memory.spec}
    document = {
        "version": VERSION,
        "config": config if memory.file or memory.spec is not None else None,
        "marks": marks_in(memory),
    }
    if memory.notes:
        document["notes"] = notes_in(memory)
    try:
        write_whole(path, as_bytes(document, indent=1))
    except OSError as error:
        problem = f"{path.name} cannot be written ({error.strerror})"
        remedy = "Let ComfyUI write into the run's folder."
        raise RequestError(422, "run_file", problem, remedy=remedy) from error
