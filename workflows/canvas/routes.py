"""How links get past columns of nodes: corridors above, between and below the nodes, and a lane in them for each link.

The lanes are held in place by the canvas's own reroute points, which change nothing about the graph that is run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

LANE: Final = 16.0  # lanes stand this far apart
STRAIGHT: Final = 250.0  # a lane goes straight on unless that takes it this far from its links' own way
RISER: Final = 6.0  # and those lines stand this far apart
TALL: Final = 260.0  # a link that climbs further than this between two columns does so on a line of its own
REROUTE_OUT: Final = 12.0  # and their points this far outside the column they pass


@dataclass(frozen=True)
class Wire:
    """A link to lead: its ends, and how far below their nodes' tops the two slots are."""

    id: int
    source: int
    slot: int
    source_y: float
    target: int
    target_y: float


@dataclass
class Reroute:
    """A point that links run through; parent: the point before it, seen from the links' source."""

    id: int
    x: float
    y: float
    parent: int | None
    links: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Nodes of one group that stand in one strip; place: the group's place in its column, from the top."""

    place: int
    top: float
    bottom: float
    nodes: frozenset[int]


@dataclass(frozen=True)
class Strip:
    """A column of nodes, or a sub-column of one: its edges, and its blocks from top to bottom."""

    left: float
    right: float
    blocks: Sequence[Block]

    @cached_property
    def corridors(self) -> list[tuple[float, float]]:
        """The free spans from top to bottom, a lane's distance off the blocks."""
        edges = [-1e9]
        for block in self.blocks:
            edges += [block.top - LANE, block.bottom + LANE]
        edges.append(1e9)
        return list(zip(edges[::2], edges[1::2], strict=True))


class _Lane(NamedTuple):
    """One lane: the strip and corridor it is in, the output whose links it carries, and their way up to here."""

    strip: int
    corridor: int
    source: int
    slot: int
    way: tuple[int, ...]


class Routes:
    """The ways of all links that pass a strip. columns: the strips of every column, from left to right."""

    def __init__(
        self,
        columns: Sequence[Sequence[Strip]],
        wires: Sequence[Wire],
        positions: Mapping[int, tuple[float, float]],
    ) -> None:
        self._strips = [strip for column in columns for strip in column]
        self._column = [number for number, column in enumerate(columns) for _ in column]
        self._strip_of = {
            node: number for number, strip in enumerate(self._strips) for block in strip.blocks for node in block.nodes
        }
        self._wires = wires
        self._lanes: dict[_Lane, list[Wire]] = {}
        self._ways: dict[int, list[_Lane]] = {}
        for wire in wires:
            passed = range(self._strip_of[wire.source] + 1, self._strip_of[wire.target])
            if passed:
                self._lead(wire, passed, positions)

    def _lead(self, wire: Wire, passed: range, positions: Mapping[int, tuple[float, float]]) -> None:
        """Choose, strip by strip, the corridor with the smallest detour."""
        y = positions[wire.source][1] + wire.source_y
        goal = positions[wire.target][1] + wire.target_y
        way: tuple[int, ...] = ()
        lanes = []
        for strip in passed:
            spans = self._strips[strip].corridors
            # of the corridors beside y, one is on the way to the goal or the nearest to it: no other is better
            below = bisect_left(spans, (y, y))
            near = range(max(below - 1, 0), min(below + 1, len(spans)))
            corridor = min(near, key=lambda at: abs(_clip(y, spans[at]) - y) + abs(goal - _clip(y, spans[at])))
            way = (*way, corridor)
            lane = _Lane(strip, corridor, wire.source, wire.slot, way)
            self._lanes.setdefault(lane, []).append(wire)
            lanes.append(lane)
            y = _clip(y, spans[corridor])
        self._ways[wire.id] = lanes

    def lane_counts(self) -> dict[tuple[int, int], int]:
        """(column, place of a group in it) -> how many lanes need room above that group."""
        counts: dict[tuple[int, int], int] = defaultdict(int)
        for lane in self._lanes:
            counts[lane.strip, lane.corridor] += 1
        room: dict[tuple[int, int], int] = {}
        for (strip, corridor), count in counts.items():
            blocks = self._strips[strip].blocks
            if corridor < len(blocks):
                key = (self._column[strip], blocks[corridor].place)
                room[key] = max(room.get(key, 0), count)
        return room

    def points(
        self, columns: Sequence[Sequence[Strip]], positions: Mapping[int, tuple[float, float]]
    ) -> tuple[list[Reroute], dict[int, int]]:
        """The lanes' reroute points at the final places, and the last point of every link that has any."""
        strips = [strip for column in columns for strip in column]
        points = _Points(strips, self._heights(strips, positions), positions)
        return points.lead(self._wires, self._ways, self._strip_of)

    def _heights(self, strips: Sequence[Strip], positions: Mapping[int, tuple[float, float]]) -> dict[_Lane, float]:
        """Lanes straight on from the strip before, else near their links' straight way, a lane's width apart."""
        heights: dict[_Lane, float] = {}
        shared: dict[tuple[int, int], list[_Lane]] = defaultdict(list)
        for lane in self._lanes:
            shared[lane.strip, lane.corridor].append(lane)
        for strip, corridor in sorted(shared):
            lanes = shared[strip, corridor]
            low, high = strips[strip].corridors[corridor]
            wanted = {lane: self._wanted(lane, heights, positions) for lane in lanes}
            lanes.sort(key=lambda lane, wanted=wanted: wanted[lane])  # type: ignore[misc]
            y = low - LANE
            for lane in lanes:
                y = max(y + LANE, _clip(wanted[lane], (low, high)))
                heights[lane] = y
            for number, lane in enumerate(reversed(lanes)):
                heights[lane] = min(heights[lane], high - number * LANE)
        return heights

    def _wanted(
        self, lane: _Lane, heights: Mapping[_Lane, float], positions: Mapping[int, tuple[float, float]]
    ) -> float:
        before = lane._replace(strip=lane.strip - 1, corridor=lane.way[-2], way=lane.way[:-1]) if lane.way[1:] else None
        middle = self._middle(lane, positions)
        straight = heights.get(before, middle) if before is not None else middle
        return straight if abs(straight - middle) < STRAIGHT else middle

    def _middle(self, lane: _Lane, positions: Mapping[int, tuple[float, float]]) -> float:
        wires = self._lanes[lane]
        start = positions[lane.source][1] + wires[0].source_y
        goals = [positions[wire.target][1] + wire.target_y for wire in wires]
        return (start + sum(goals) / len(goals)) / 2


class _Points:
    """Reroute points in the making: two per lane, and two per tall climb between columns."""

    def __init__(
        self,
        strips: Sequence[Strip],
        heights: Mapping[_Lane, float],
        positions: Mapping[int, tuple[float, float]],
    ) -> None:
        self.strips, self.heights, self.positions = strips, heights, positions
        self.points: list[Reroute] = []
        self.lanes: dict[_Lane, Reroute] = {}
        self.risers: dict[tuple[int, int, int], float] = {}
        self.taken: dict[int, int] = defaultdict(int)

    def lead(
        self, wires: Sequence[Wire], ways: Mapping[int, Sequence[_Lane]], strip_of: Mapping[int, int]
    ) -> tuple[list[Reroute], dict[int, int]]:
        """All points, and the last one of every link that has any."""
        last: dict[int, int] = {}
        for wire in wires:
            y = self.positions[wire.source][1] + wire.source_y
            end = self.positions[wire.target][1] + wire.target_y
            at: Reroute | None = None
            for lane in ways.get(wire.id, ()):
                if lane not in self.lanes:
                    at = self._climb(at, y, self.heights[lane], lane.strip - 1, wire)
                    self.lanes[lane] = self._pass(self.strips[lane.strip], self.heights[lane], at)
                at = self.lanes[lane]
                y = at.y
            at = self._climb(at, y, end, strip_of[wire.target] - 1, wire)
            if at is not None:
                last[wire.id] = at.id
            while at is not None:
                at.links.append(wire.id)
                at = self.points[at.parent - 1] if at.parent is not None else None
        return self.points, last

    def _add(self, x: float, y: float, parent: Reroute | None) -> Reroute:
        point = Reroute(len(self.points) + 1, x, y, parent.id if parent else None)
        self.points.append(point)
        return point

    def _pass(self, strip: Strip, y: float, parent: Reroute | None) -> Reroute:
        """The point where a lane leaves `strip`; a lane that goes straight on from the strip before needs no other."""
        if parent is None or parent.y != y:
            parent = self._add(strip.left - REROUTE_OUT, y, parent)
        return self._add(strip.right + REROUTE_OUT, y, parent)

    def _climb(self, parent: Reroute | None, y: float, goal: float, gap: int, wire: Wire) -> Reroute | None:
        """Between strip `gap` and the next: straight up or down where it is far, all links of an output on one line."""
        if abs(goal - y) < TALL:
            return parent
        left, right = self.strips[gap].right + 1.5 * REROUTE_OUT, self.strips[gap + 1].left - 1.5 * REROUTE_OUT
        key = (gap, wire.source, wire.slot)
        if key not in self.risers:
            self.risers[key] = left + (self.taken[gap] * RISER) % max(right - left, RISER)
            self.taken[gap] += 1
        x = self.risers[key]
        return self._add(x, goal, self._add(x, y, parent))


def _clip(value: float, span: tuple[float, float]) -> float:
    return min(max(value, span[0]), span[1])
