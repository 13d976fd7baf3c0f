"""Where the nodes of a graph stand on the canvas: in titled groups.

`arrange` puts the groups (`stages.py`) into columns from left to right, one chain of nodes below the other.
`arrange_samples` is for a graph that repeats itself for every sample (style stock): one group per sample, in rows, and
on the left one group with what several samples share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .stages import STAGES

TITLE: Final = 30.0  # a node's title bar stands above its position
NODE_GAP: Final = 24.0
BADGE: Final = 14.0  # and so much more above a node whose pack the canvas names there
DEPTH_GAP: Final = 36.0
GROUP_GAP: Final = 48.0
ROW_GAP: Final = 40.0
BAND_GAP: Final = 80.0
PAD: Final = 16.0
TALL: Final = 1040.0  # nodes of a group that do not feed one another stand side by side rather than higher than this
#: Size of the groups' titles: on the screen 24 pixels at the smallest scale that a graph opens with. There the contrast
#: that a title can have (web/js/groups.js) is enough.
FONT: Final = 40
#: Letters that a chain's label adds to its groups' titles.
LABEL: Final = 10
#: Width / height of what a graph of many samples is to fill.
VIEW: Final = 2.0

#: Numbers of the nodes that a link starts from and ends in.
Wire = tuple[int, int]


class Box(NamedTuple):
    """A node to place.

    Attributes:
        id: its number.
        stage: the group it belongs to, see `stages.py`.
        band: the chain or the sample it belongs to.
        width, height: its size without the title bar, in pixels.
        badge: whether the canvas names the node's pack above it.
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


@dataclass
class Group:
    """A titled group: its frame, its nodes in columns by how many of the group's nodes feed one another in a row."""

    stage: str
    band: int
    columns: list[list[Box]]
    x: float = 0.0
    y: float = 0.0
    width: float = field(init=False)
    height: float = field(init=False)

    def __post_init__(self) -> None:
        letters = len(STAGES[self.stage].title) + (LABEL if self.band and STAGES[self.stage].title else 0)
        columns = sum(map(_width, self.columns)) + DEPTH_GAP * (len(self.columns) - 1)
        self.width = 2 * PAD + max(columns, 0.55 * FONT * letters)
        self.height = self._head + max(map(_height, self.columns)) + PAD

    @property
    def _head(self) -> float:
        """Room for the title, which is drawn 1.4 times its size high, and the badges above the nodes' titles."""
        return 1.4 * FONT + 30.0

    def positions(self) -> Iterator[tuple[int, tuple[float, float]]]:
        """The nodes' numbers and places."""
        x = self.x + PAD
        for column in self.columns:
            y = self.y + self._head - column[0].gap
            for box in column:
                y += box.gap + TITLE
                yield box.id, (x, y)
                y += box.height
            x += _width(column) + DEPTH_GAP


def arrange(boxes: Sequence[Box], wires: Iterable[Wire]) -> list[Group]:
    """Place `boxes` in groups from left to right; a chain stands below all of the one before."""
    groups = sorted(_groups(boxes, wires), key=lambda group: (group.band, STAGES[group.stage].row))
    widths: dict[int, float] = defaultdict(float)
    for group in groups:
        column = STAGES[group.stage].column
        widths[column] = max(widths[column], group.width)
    lefts, x = {}, 0.0
    for column in sorted(widths):
        lefts[column] = x
        x += widths[column] + GROUP_GAP
    bottoms: dict[int, float] = {}
    band, top = 0, 0.0
    for group in groups:
        if group.band != band:
            band, top = group.band, max(bottoms.values()) + BAND_GAP
            bottoms = {}
        column = STAGES[group.stage].column
        group.x, group.y = lefts[column], bottoms[column] + ROW_GAP if column in bottoms else top
        bottoms[column] = group.y + group.height
    return groups


def arrange_samples(boxes: Sequence[Box], wires: Iterable[Wire]) -> list[Group]:
    """Place `boxes` of many samples in rows of groups of one size, on the right of those of stage "shared"."""
    groups = _groups(boxes, wires)
    samples = [group for group in groups if group.stage == "sample"]
    width, height = max(group.width for group in samples), max(group.height for group in samples)
    left = max((group.width + GROUP_GAP for group in groups if group.stage != "sample"), default=0.0)
    columns = max(1, round(math.sqrt(len(samples) * VIEW * (height + ROW_GAP) / (width + GROUP_GAP))))
    for number, group in enumerate(samples):
        row, column = divmod(number, columns)
        group.x, group.y = left + column * (width + GROUP_GAP), row * (height + ROW_GAP)
        group.width, group.height = width, height
    y = 0.0
    for group in groups:
        if group.stage != "sample":
            group.y, y = y, y + group.height + ROW_GAP
    return groups


def shared_nodes(bands: Sequence[int | None], wires: Sequence[Wire]) -> set[int]:
    """The nodes that several samples use, and all that feed those.

    bands: by node number, the sample for which a node was made, None = for all. wires: sorted by target.
    """
    shared = {number for number, band in enumerate(bands) if band is None}
    for source, target in reversed(wires):  # a node stands behind those that feed it: its own case is settled
        if target in shared or bands[source] != bands[target]:
            shared.add(source)
    return shared


def _groups(boxes: Sequence[Box], wires: Iterable[Wire]) -> list[Group]:
    members: dict[tuple[int, str], list[Box]] = defaultdict(list)
    for box in boxes:
        members[box.band, box.stage].append(box)
    feeds: dict[int, list[int]] = defaultdict(list)
    for source, target in wires:
        feeds[target].append(source)
    groups = []
    for (band, stage), inside in members.items():
        within = {} if STAGES[stage].upright else feeds
        columns = [[box] for box in inside] if STAGES[stage].flat else _columns(inside, within)
        groups.append(Group(stage, band, columns))
    return groups


def _columns(inside: Sequence[Box], feeds: Mapping[int, list[int]]) -> list[list[Box]]:
    """Nodes of a group by depth; as many columns for a depth as it needs to be no higher than its group is wide."""
    depth: dict[int, int] = {}
    for box in inside:  # builders add a node after those that feed it
        before = [depth[source] for source in feeds.get(box.id, ()) if source in depth]
        depth[box.id] = max(before, default=-1) + 1
    parts: list[list[Box]] = [[] for _ in range(max(depth.values()) + 1)]
    for box in inside:
        parts[depth[box.id]].append(box)
    limit = max(TALL, math.sqrt(sum(box.width * box.height for box in inside)))
    return [column for part in parts for column in _split(part, math.ceil(_height(part) / limit))]


def _split(part: Sequence[Box], count: int) -> Iterator[list[Box]]:
    """`part` in at most `count` pieces, in its order."""
    size = -(-len(part) // count)
    for start in range(0, len(part), size):
        yield list(part[start : start + size])


def _height(column: Sequence[Box]) -> float:
    return sum(box.gap + TITLE + box.height for box in column) - column[0].gap


def _width(column: Sequence[Box]) -> float:
    return max(box.width for box in column)
