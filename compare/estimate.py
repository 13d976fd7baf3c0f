"""How long a sweep takes, by what pictures took before, and how much of it is left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .manifest import ManifestLine

#: Width, height and number of sampling steps of a picture.
Size = tuple[int, int, int]
#: The most pictures that count, the newest: machines and models change.
_NEWEST = 200


@dataclass(frozen=True)
class Estimate:
    """What pictures will take, in seconds.

    Args:
        seconds: For all of them.
        known: How many pictures were made before of which that is told.
        scaled: Whether some of these sizes were not made before, and were reckoned by pixels and sampling steps.
    """

    seconds: float
    known: int
    scaled: bool


def estimate(lines: Iterable[ManifestLine], worker: str, wanted: Iterable[Size]) -> Estimate | None:
    """What pictures of these sizes will take on a worker; None where it made none before.

    Args:
        lines: A manifest.
        worker: As the manifest calls it.
        wanted: Of every picture that is to be made.
    """
    took: dict[Size, list[float]] = {}
    files = {line.file: line for line in lines if line.worker == worker}  # a picture may be several cells
    for line in list(files.values())[-_NEWEST:]:
        if line.sampling_steps and line.seconds:
            took.setdefault((line.width, line.height, line.sampling_steps), []).append(line.seconds)
    if not took:
        return None
    usual = {size: statistics.median(seconds) for size, seconds in took.items()}
    rate = statistics.median(seconds / work(size) for size, seconds in usual.items())
    sizes = list(wanted)
    total = sum(usual.get(size, rate * work(size)) for size in sizes)
    return Estimate(total, sum(map(len, took.values())), any(size not in usual for size in sizes))


def work(size: Size) -> float:
    """What a picture costs beside others: pixels times sampling steps."""
    width, height, steps = size
    return float(width * height * steps)


class Pace:
    """What is left of a sweep.

    Args:
        total: The work of all pictures, as `work` has it.
        guess: Seconds that all of it may take, None = nothing is known before the first picture is done.
    """

    def __init__(self, total: float, guess: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._guess, self._clock = total, guess, clock
        self._began = clock()
        self._done = 0.0

    def at(self, done: float) -> None:
        """Take it that so much of the work is done."""
        self._done = min(max(done, self._done), self._total)

    def left(self) -> float | None:
        """Seconds left, None = not known yet.

        What pictures took before counts as long as little is done; after that what these take.
        """
        gone, share = self._clock() - self._began, self._done / self._total if self._total else 1.0
        if not share:
            return None if self._guess is None else max(0.0, self._guess - gone)
        measured = gone / share - gone
        if self._guess is None:
            return measured
        return share * measured + (1.0 - share) * (self._guess * (1.0 - share))


def spoken(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
