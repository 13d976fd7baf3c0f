"""Which worker makes which pictures: each loads as little as it can, none idles, every picture ends exactly once.

Nothing here runs anything or knows what a worker is. The cells, one for each picture, lie in a line in which those that
need the same models are neighbours. Each worker goes through a stretch of that line, so that it keeps what it has
loaded; one whose stretch is done takes the rear half of the longest stretch that is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

#: Workers that a cell may take down with it; it is given up with the last of them.
MOST_LOSSES: Final = 3


class Cell(NamedTuple):
    """One picture to make.

    Args:
        name: what tells it from the others.
        needs: what has to be loaded for it, the dearest first (base model, text encoders' prompts, variant,
            checkpoint). Cells with equal needs are made by one graph.
    """

    name: Hashable
    needs: tuple[Hashable, ...] = ()


class End(Enum):
    """How a cell ended."""

    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given up"


class _Stretch(NamedTuple):
    """The cells of the line from `start` up to `stop`, which nobody has begun."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


_NOTHING: Final = _Stretch(0, 0)


@dataclass
class _Worker:
    """What a worker has before it, what it is at, and what it has loaded."""

    ahead: _Stretch = _NOTHING
    at_work: set[int] = field(default_factory=set)
    loaded: tuple[Hashable, ...] = ()


class Scheduler:
    """Gives cells to workers that come and go; see the module.

    Call `join` for each worker that is there, then `take` whenever one is free, and tell how its cells ended: `done`,
    `failed`, or `lost` for all that it was at. What a worker tells of a cell that it has no longer does not count.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._line = _neighbours(list(cells))
        self._places = {cell.name: place for place, cell in enumerate(self._line)}
        if len(self._places) < len(self._line):
            raise ValueError("two cells have the same name")
        self._group_ends = _group_ends(self._line)
        self._ends: dict[int, End] = {}
        self._losses: dict[int, int] = {}
        self._nobodys: list[_Stretch] = [_Stretch(0, len(self._line))] if self._line else []
        self._workers: dict[Hashable, _Worker] = {}
        self._waiting = len(self._line)
        #: Times that something else had to be loaded, by level of `needs`, over all workers.
        self.loads = [0] * max((len(cell.needs) for cell in self._line), default=0)

    @property
    def finished(self) -> bool:
        """Whether every cell has ended."""
        return len(self._ends) == len(self._line)

    @property
    def workers(self) -> tuple[Hashable, ...]:
        """Those that are there."""
        return tuple(self._workers)

    def ended(self, *how: End) -> list[Hashable]:
        """Names of the cells that ended so, in the line's order."""
        return [cell.name for place, cell in enumerate(self._line) if self._ends.get(place) in how]

    def failures(self) -> list[Hashable]:
        """Names of the cells that ended without a picture, in the line's order."""
        return self.ended(End.FAILED, End.GIVEN_UP)

    def unfinished(self) -> list[Hashable]:
        """Names of the cells that have not ended, in the line's order."""
        return [cell.name for place, cell in enumerate(self._line) if place not in self._ends]

    def join(self, worker: Hashable) -> None:
        """A worker is there, with nothing loaded."""
        if worker in self._workers:
            raise ValueError(f"{worker!r} has joined already")
        self._workers[worker] = _Worker()

    def take(self, worker: Hashable) -> list[Hashable]:
        """Names of the cells that `worker` makes now, all with equal needs, in order; [] while there is nothing.

        That may change as long as the scheduler is not `finished`: another worker may be lost. While enough waits for
        everyone these are all cells of a graph, towards the end only the worker's share of them.
        """
        mine = self._workers[worker]
        if not mine.ahead.size:
            mine.ahead = self._found(mine)
        start, stop = mine.ahead
        if start == stop:
            return []
        share = max(1, -(-self._waiting // len(self._workers)))
        end = min(stop, self._group_ends[start], start + share)
        mine.ahead = _Stretch(end, stop)
        mine.at_work.update(range(start, end))
        self._waiting -= end - start
        self._load(mine, self._line[start].needs)
        return [self._line[place].name for place in range(start, end)]

    def done(self, worker: Hashable, names: Iterable[Hashable]) -> list[Hashable]:
        """`worker` has made these cells; returns those of them that count."""
        return self._end(worker, names, End.DONE)

    def failed(self, worker: Hashable, names: Iterable[Hashable]) -> list[Hashable]:
        """These cells cannot be made, wherever; the worker goes on. Returns those of them that count."""
        return self._end(worker, names, End.FAILED)

    def lost(self, worker: Hashable) -> list[Hashable]:
        """`worker` is gone, and what it had goes to others; returns the cells that are given up because of that.

        One is given up that was being made when `MOST_LOSSES` workers went.
        """
        gone = self._workers.pop(worker, None)
        if gone is None:
            return []
        back, given_up = [], []
        for place in sorted(gone.at_work):
            self._losses[place] = self._losses.get(place, 0) + 1
            if self._losses[place] < MOST_LOSSES:
                back.append(place)
                continue
            self._ends[place] = End.GIVEN_UP
            given_up.append(self._line[place].name)
        self._waiting += len(back)
        self._nobodys += _joined([*_stretches(back), *([gone.ahead] if gone.ahead.size else [])])
        return given_up

    def _end(self, worker: Hashable, names: Iterable[Hashable], end: End) -> list[Hashable]:
        mine = self._workers.get(worker)
        if mine is None:
            return []
        counted = []
        for name in names:
            place = self._places.get(name)
            if place in mine.at_work:
                mine.at_work.remove(place)
                self._ends[place] = end
                counted.append(name)
        return counted

    def _found(self, mine: _Worker) -> _Stretch:
        """Work for a worker that has none: a stretch that nobody has, else a part of another's."""
        if self._nobodys:
            best = max(self._nobodys, key=lambda one: (_shared(self._line[one.start].needs, mine.loaded), one.size))
            self._nobodys.remove(best)
            return best
        longest = max(other.ahead.size for other in self._workers.values())
        if not longest:
            return _NOTHING
        near = [other for other in self._workers.values() if 2 * other.ahead.size > longest]
        robbed = max(
            near, key=lambda other: (_shared(self._line[other.ahead.stop - 1].needs, mine.loaded), other.ahead.size)
        )
        cut = self._cut(robbed.ahead)
        rear = _Stretch(cut, robbed.ahead.stop)
        robbed.ahead = _Stretch(robbed.ahead.start, cut)
        return rear

    def _cut(self, stretch: _Stretch) -> int:
        """Where to halve a stretch: between two graphs where one of them lies inside."""
        start, stop = stretch
        middle = (start + stop) // 2
        after = self._group_ends[middle]
        before = middle
        if middle > start and self._group_ends[middle - 1] > middle:  # inside a graph
            before = self._group_start(middle, start)
        inside = [place for place in (before, after) if start < place < stop]
        return min(inside, key=lambda place: abs(place - middle)) if inside else middle

    def _group_start(self, place: int, least: int) -> int:
        """Where the graph of `place` begins, at least `least`."""
        low, high, end = least, place, self._group_ends[place]
        while low < high:
            between = (low + high) // 2
            low, high = (low, between) if self._group_ends[between] == end else (between + 1, high)
        return low

    def _load(self, mine: _Worker, needs: tuple[Hashable, ...]) -> None:
        for level in range(_shared(needs, mine.loaded), len(needs)):
            self.loads[level] += 1
        mine.loaded = needs


def _neighbours(cells: list[Cell]) -> list[Cell]:
    """The cells, those with equal needs beside each other, else in their order; the dearest needs count most."""
    first: dict[tuple[Hashable, ...], int] = {}
    keys = []
    for number, cell in enumerate(cells):
        beginnings = (cell.needs[:length] for length in range(1, len(cell.needs) + 1))
        keys.append((*(first.setdefault(beginning, number) for beginning in beginnings), number))
    return [cells[number] for number in sorted(range(len(cells)), key=keys.__getitem__)]


def _group_ends(line: Sequence[Cell]) -> list[int]:
    """For each place of the line, where the cells with the same needs end."""
    ends = [len(line)] * len(line)
    for place in range(len(line) - 2, -1, -1):
        ends[place] = ends[place + 1] if line[place].needs == line[place + 1].needs else place + 1
    return ends


def _shared(one: tuple[Hashable, ...], other: tuple[Hashable, ...]) -> int:
    """How many needs are the same, from the dearest on."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _stretches(places: Sequence[int]) -> Iterator[_Stretch]:
    """Ascending places as stretches."""
    start = None
    for number, place in enumerate(places):
        start = place if start is None else start
        if number + 1 == len(places) or places[number + 1] != place + 1:
            yield _Stretch(start, place + 1)
            start = None


def _joined(stretches: Sequence[_Stretch]) -> list[_Stretch]:
    """Stretches in order, those that follow each other as one."""
    found: list[_Stretch] = []
    for one in stretches:
        if found and found[-1].stop == one.start:
            found[-1] = _Stretch(found[-1].start, one.stop)
        else:
            found.append(one)
    return found
