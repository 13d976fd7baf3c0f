"""Where the nodes of a graph stand on the canvas: titled groups from left to right, long links led around them.

Groups (`stages.py`) stand in columns. A link that passes a column runs through a corridor above, between or below the
groups there, along a lane of its own that two of the canvas's reroute points hold in place (`routes.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .routes import LANE, Block, Reroute, Routes, Strip, Wire
from .stages import STAGES

TITLE: Final = 30.0  # a node's title bar stands above its position
NODE_GAP: Final = 24.0
BADGE: Final = 14.0  # and so much more above a node whose pack the canvas names there
DEPTH_GAP: Final = 40.0
COLUMN_GAP: Final = 64.0
ROW_GAP: Final = 50.0
BAND_GAP: Final = 80.0
PAD: Final = 16.0
GROUP_TITLE: Final = 64.0  # and the badges above the nodes' titles
TALL: Final = 560.0  # nodes of a group that do not feed one another stand side by side rather than higher than this

#: Stages whose nodes may stand side by side; models stay in one column.
_TALL_STAGES: Final = frozenset(("prompts", "noise"))


@dataclass(frozen=True)
class Box:
    """A node to place: its stage, the band (chain) it belongs to, its size without the title bar; badge: the canvas
    names its pack above it.
    """

    id: int
    stage: str
    band: int
    width: float
    height: float
    badge: bool = False

    @property
    def gap(self) -> float:
        """Distance to a node above."""
        return NODE_GAP + (BADGE if self.badge else 0.0)


@dataclass(frozen=True)
class Frame:
    """A group on the canvas."""

    stage: str
    band: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Node positions by id, group frames, reroute points, and the last point of each link that has any."""

    positions: Mapping[int, tuple[float, float]]
    frames: Sequence[Frame]
    reroutes: Sequence[Reroute]
    last_point: Mapping[int, int]


@dataclass
class _Group:
    """One group: its nodes in sub-columns, by how many of the group's nodes feed one another in a row; its place."""

    stage: str
    band: int
    parts: list[list[Box]]
    left: list[float] = field(default_factory=list)
    y: float = 0.0

    @property
    def height(self) -> float:
        return GROUP_TITLE + max(_height(part) for part in self.parts) + PAD

    def positions(self) -> Iterable[tuple[int, float, float]]:
        for x, part in zip(self.left, self.parts, strict=False):
            y = self.y + GROUP_TITLE - part[0].gap
            for box in part:
                y += box.gap + TITLE
                yield box.id, x, y
                y += box.height

    def frame(self) -> Frame:
        right = max(x + _width(part) for x, part in zip(self.left, self.parts, strict=False))
        left = self.left[0] - PAD
        return Frame(self.stage, self.band, left, self.y, right + PAD - left, self.height)


def _height(part: Sequence[Box]) -> float:
    return sum(box.gap + TITLE + box.height for box in part) - part[0].gap


def _width(part: Sequence[Box]) -> float:
    return max(box.width for box in part)


def arrange(boxes: Sequence[Box], wires: Sequence[Wire]) -> Layout:
    """Place `boxes` and lead `wires`; the same input gives the same layout. Sizes and positions are pixels."""
    stacks: dict[int, list[_Group]] = defaultdict(list)
    for group in _groups(boxes, wires):
        stacks[STAGES[group.stage].column].append(group)
    columns = [stacks[key] for key in sorted(stacks)]
    for stack in columns:
        stack.sort(key=lambda group: (group.band, STAGES[group.stage].row))
    _place_across(columns)
    _place_down(columns, {})
    routes = Routes([_strips(stack) for stack in columns], wires, _positions(columns))
    _place_down(columns, routes.lane_counts())
    positions = _positions(columns)
    reroutes, last_point = routes.points([_strips(stack) for stack in columns], positions)
    frames = [group.frame() for stack in columns for group in stack]
    return Layout(positions, frames, reroutes, last_point)


def _groups(boxes: Sequence[Box], wires: Sequence[Wire]) -> list[_Group]:
    members: dict[tuple[int, str], list[Box]] = defaultdict(list)
    for box in boxes:
        members[box.band, box.stage].append(box)
    feeds: dict[int, list[Wire]] = defaultdict(list)
    goals: dict[int, list[Wire]] = defaultdict(list)
    for wire in wires:
        feeds[wire.target].append(wire)
        goals[wire.source].append(wire)
    return [_Group(stage, band, _parts(inside, feeds, goals)) for (band, stage), inside in members.items()]


def _parts(inside: Sequence[Box], feeds: Mapping[int, list[Wire]], goals: Mapping[int, list[Wire]]) -> list[list[Box]]:
    """Nodes of a group by depth; nodes that all feed one node stand in the order of its slots."""
    depth: dict[int, int] = {}
    for box in inside:  # builders add a node after those that feed it
        before = [depth[wire.source] for wire in feeds.get(box.id, ()) if wire.source in depth]
        depth[box.id] = max(before, default=-1) + 1
    parts: list[list[Box]] = [[] for _ in range(max(depth.values()) + 1)]
    for box in inside:
        parts[depth[box.id]].append(box)
    for part in parts:
        targets = {wire.target for box in part for wire in goals.get(box.id, ())}
        if len(targets) == 1 and all(goals.get(box.id) for box in part):
            part.sort(key=lambda box: min(wire.target_y for wire in goals[box.id]))
    return [piece for part in parts for piece in _split(part, feeds)]


def _split(part: list[Box], feeds: Mapping[int, list[Wire]]) -> list[list[Box]]:
    """A sub-column as two where it is tall; the nodes with most links into them come first, for the shorter way."""
    if _height(part) <= TALL or len({box.stage for box in part} & _TALL_STAGES) == 0:
        return [part]
    order = sorted(part, key=lambda box: -len(feeds.get(box.id, ())))
    first = min(range(1, len(order)), key=lambda cut: max(_height(order[:cut]), _height(order[cut:])))
    return [sorted(piece, key=part.index) for piece in (order[:first], order[first:])]


def _place_across(columns: Sequence[Sequence[_Group]]) -> None:
    x = 0.0
    for stack in columns:
        left = x + PAD
        lefts = []
        for depth in range(max(len(group.parts) for group in stack)):
            lefts.append(left)
            left += max(_width(group.parts[depth]) for group in stack if depth < len(group.parts)) + DEPTH_GAP
        for group in stack:
            group.left = lefts
        x = left - DEPTH_GAP + PAD + COLUMN_GAP


def _place_down(columns: Sequence[Sequence[_Group]], lanes: Mapping[tuple[int, int], int]) -> None:
    """Stack the groups of every column; a new band starts below everything of the one before.

    lanes: (column, place of a group in it) -> lanes in the corridor above that group.
    """
    bottom = [0.0] * len(columns)
    bands: dict[int, list[tuple[int, int, _Group]]] = defaultdict(list)
    for column, stack in enumerate(columns):
        for place, group in enumerate(stack):
            bands[group.band].append((column, place, group))
    for band in sorted(bands):
        top = max(bottom) + BAND_GAP if band else 0.0
        started = set()
        for column, place, group in bands[band]:
            room = (lanes.get((column, place), 0) + 1) * LANE + ROW_GAP / 2
            group.y = bottom[column] + max(ROW_GAP, room)
            if column not in started:
                group.y = max(top, group.y) if band else top
            started.add(column)
            bottom[column] = group.y + group.height


def _positions(columns: Sequence[Sequence[_Group]]) -> dict[int, tuple[float, float]]:
    return {node: (x, y) for stack in columns for group in stack for node, x, y in group.positions()}


def _strips(stack: Sequence[_Group]) -> list[Strip]:
    """A column's sub-columns, as the routes see them: what stands where."""
    strips = []
    for depth, left in enumerate(stack[0].left):
        there = [(place, group) for place, group in enumerate(stack) if depth < len(group.parts)]
        right = left + max(_width(group.parts[depth]) for _, group in there)
        blocks = []
        for place, group in there:
            end = group.y + GROUP_TITLE + _height(group.parts[depth]) + PAD
            blocks.append(Block(place, group.y, end, frozenset(box.id for box in group.parts[depth])))
        strips.append(Strip(left - PAD if depth == 0 else left, right, blocks))
    return strips
