"""Searches of folders whose result is remembered while nothing that they looked at has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")
_State = tuple[int, int, int] | None  # time, size and inode; None = nothing is there
_LOOKED: ContextVar[dict[Path, _State] | None] = ContextVar("looked", default=None)
_KEPT: Final = 64
#: What changed less than two seconds before a search may change again without another time: FAT counts by two seconds.
_SETTLED_NS: Final = 2 * 10**9


def look(path: Path) -> Path:
    """Note, before reading it, that the search that runs now depends on this file or folder."""
    looked = _LOOKED.get()
    if looked is not None and path not in looked:
        looked[path] = _state(path)
    return path


class Remembered(Generic[_T]):
    """The results of a search by path. A path is searched again only when a place that the search `look`ed at changed.

    Several threads may use it. What changed within the last two seconds is searched each time.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[dict[Path, _State], list[_T]]] = {}

    def ask(self, path: Path, search: Callable[[Path], list[_T]]) -> list[_T]:
        """Return what `search` finds at `path`, as a new list. Errors are raised and not remembered."""
        looked, found = self._known.get(path, ({}, []))
        if looked and all(_state(place) == then for place, then in looked.items()):
            return list(found)
        looked, limit = {}, time.time_ns() - _SETTLED_NS
        token = _LOOKED.set(looked)
        try:
            found = search(look(path))
        finally:
            _LOOKED.reset(token)
        self._known.pop(path, None)
        if all(state is None or state[0] < limit for state in looked.values()):
            self._known[path] = looked, found
            for old in list(self._known)[:-_KEPT]:
                self._known.pop(old, None)
        return list(found)


def _state(path: Path) -> _State:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
