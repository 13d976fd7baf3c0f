"""Timing that other load on the machine changes least."""

from __future__ import annotations

import time
from collections.abc import Callable

RUNS = 7


def best(call: Callable[[], object]) -> float:
    """Least processor time of several runs, in milliseconds."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) * 1e3
