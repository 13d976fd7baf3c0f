"""One comparison of `make bench`: how it is measured, and its row in a table."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Work = Callable[[], object]
Clock = Callable[[], float]
#: Of work that several cores share.
CLOCK: Final[Clock] = time.perf_counter


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of each run.

    other: what ours is beside, without seconds where there is nothing. aim: of the ratio where it is "≤ " and a number.
    note: what was counted meanwhile.
    """

    work: str
    other: str
    aim: str
    ours: list[float]
    others: list[float]
    note: str = ""

    def ratios(self) -> list[float]:
        """Ours by the other's, of runs that took turns; none where there is no other."""
        return [one / other for one, other in zip(self.ours, self.others, strict=True)] if self.others else []

    def limit(self) -> float | None:
        """The ratio that is aimed at, None = the aim is no ratio."""
        found = re.fullmatch(r"≤ ([\d.]+)", self.aim)
        return float(found[1]) if found and self.others else None

    def cells(self) -> list[str]:
        """Of the table."""
        ratios = self.ratios()
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})" if ratios else "–"
        return [self.work, self.other, spread(self.ours), ratio, self.aim, self.note]


def spread(seconds: list[float]) -> str:
    """Median, least and most."""
    return f"{shown(statistics.median(seconds))} ({shown(min(seconds))}–{shown(max(seconds))})"


def shown(seconds: float) -> str:
    """A time in the unit that suits it."""
    if abs(seconds) >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if abs(seconds) >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def seconds(work: Work, clock: Clock = time.process_time, least: float = 0.02) -> float:
    """Processor time (or another clock's) of one call: of as many as take `least` seconds."""
    calls, took = 0, 0.0
    began = clock()
    while took < least:
        work()
        calls += 1
        took = clock() - began
    return took / calls


def row(
    work: str, other: str, aim: str, ours: Work, others: Work | None, repeats: int, clock: Clock = time.process_time
) -> Row:
    """Both in turns, after one call of each that does not count."""
    ours()
    if others is not None:
        others()
    pairs = [(seconds(ours, clock), seconds(others, clock) if others else 0.0) for _ in range(repeats)]
    return Row(work, other, aim, [one for one, _ in pairs], [two for _, two in pairs] if others else [])
