"""Counting what code does where a clock would say how busy the machine is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def calls(work: Callable[[], object]) -> int:
    """How many functions are called while `work()` runs, Python's and C's."""
    with _counted() as seen:
        work()
    return seen[0]


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail where more than `limit` functions are called meanwhile."""
    with _counted() as seen:
        yield
    assert seen[0] <= limit, f"{seen[0]} calls"


@contextlib.contextmanager
def _counted() -> Iterator[list[int]]:
    seen = [0]

    def look(_frame: FrameType, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            seen[0] += 1

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(before)
