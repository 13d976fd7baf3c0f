"""Layout of a graph that repeats itself once per sample (style stock): what the samples share on the left, then a grid
with one titled block per sample.

A block is laid out once for all samples of its shape and moved into its place. What a block needs of the shared nodes
comes down a line of its own beside the block's column and runs through the block above or below its nodes; the canvas's
reroute points hold these lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from .routes import LANE, REROUTE_OUT

TITLE: Final = 30.0  # a node's title bar stands above its position
NODE_GAP: Final = 24.0
COLUMN_GAP: Final = 64.0
PAD: Final = 20.0
#: The blocks' titles stay legible when the whole grid is seen from afar.
FONT: Final = 40
HEAD: Final = FONT * 1.4 + LANE
BLOCK_GAP: Final = 40.0
#: A line's distance from the nodes: the canvas rounds the corner at its beginning by so much.
CLEAR: Final = 30.0
#: Text boxes of a block's prompts are this high, whatever they hold: the blocks are equal.
TEXT_BOX: Final = 120.0

#: A link as the canvas writes it: number, source, its slot, target, its slot, type.
CanvasLink = tuple[int, int, int, int, int, str]
#: Node by number -> which sample's block it stands in; SHARED for nodes of several samples.
SHARED: Final = -1


@dataclass(frozen=True)
class End:
    """What a block must know of a link that ends in it.

    target, source: places of the nodes among the block's, source None where it comes from outside; slot: the input's
    number; target_y, source_y: how far below their nodes' tops the slots are.
    """

    target: int
    source: int | None
    slot: int
    target_y: float
    source_y: float


class Led(NamedTuple):
    """A link of a block that runs through points. link: its place among those that end in the block; entry: the height
    at which it comes in from the line beside the block, None within; way: its points in the block.
    """

    link: int
    entry: int | None
    way: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Block:
    """One shape of block. places: its nodes' places from its top left corner; led: its links that need points."""

    places: Sequence[tuple[int, int]]
    led: Sequence[Led]
    width: float
    height: float


def homes(bands: Sequence[int | None], links: Sequence[CanvasLink]) -> list[int]:
    """The block of every node. bands: the sample for which a node was made first, None = for all.

    A node that several samples use, and what feeds such a node, is shared. links: by target, in the nodes' order.
    """
    found: list[int | None] = [SHARED if band is None else None for band in bands]
    for _, source, _, target, _, _ in reversed(links):
        user = found[target]  # all links that start there have been seen
        if user is None:
            user = found[target] = bands[target]
        known = found[source]
        if known is None:
            found[source] = user
        elif known != user:
            found[source] = SHARED
    return [
        (SHARED if band is None else band) if home is None else home for home, band in zip(found, bands, strict=True)
    ]


def block(sizes: Sequence[tuple[float, float]], ends: Sequence[End]) -> Block:
    """Lay out one block: its nodes in columns by what feeds them, its links past the columns that they skip."""
    depth = _depths(len(sizes), ends)
    columns = range(max(depth) + 1)
    lefts, rights = [], []
    x = PAD
    for column in columns:
        width = max(sizes[node][0] for node, at in enumerate(depth) if at == column)
        lefts.append(x)
        rights.append(x + width)
        x += width + COLUMN_GAP
    over = [end for end in ends if _passes(end, depth) and end.slot == 0]
    top = HEAD + (LANE * (len(over) - 1) + CLEAR if over else 0.0)
    places: list[tuple[float, float]] = []
    bottoms = [top] * len(columns)
    for node, column in enumerate(depth):
        places.append((lefts[column], bottoms[column] + TITLE))
        bottoms[column] += TITLE + sizes[node][1] + NODE_GAP
    lane_of, bottom = _lanes(ends, depth, bottoms)
    led = []
    for number, end in enumerate(ends):
        y = round(places[end.target][1] + end.target_y)
        way: list[tuple[int, int]] = []
        if _passes(end, depth):
            y = round(HEAD + LANE * over.index(end) if end in over else lane_of[number])
            if end.source is not None:
                way.append((round(rights[depth[end.source]] + REROUTE_OUT), y))
            way.append((round(lefts[depth[end.target]] - COLUMN_GAP + REROUTE_OUT), y))
        if way or end.source is None:
            led.append(Led(number, y if end.source is None else None, way))
    return Block([(round(x), round(y)) for x, y in places], led, rights[-1] + PAD, bottom + PAD)


def _depths(count: int, ends: Sequence[End]) -> list[int]:
    depth = [0] * count
    for end in ends:  # by target, and a node stands behind those that feed it
        if end.source is not None:
            depth[end.target] = max(depth[end.target], depth[end.source] + 1)
    return depth


def _passes(end: End, depth: Sequence[int]) -> bool:
    """Whether the link has to get past a column of nodes."""
    return depth[end.target] - (-1 if end.source is None else depth[end.source]) > 1


def _lanes(ends: Sequence[End], depth: Sequence[int], bottoms: Sequence[float]) -> tuple[dict[int, float], float]:
    """Heights of the links that run below the columns they pass, the shorter ones nearer; and the block's bottom."""
    lanes: dict[int, float] = {}
    below = [number for number, end in enumerate(ends) if _passes(end, depth) and end.slot > 0]
    last = 0.0
    for number in sorted(below, key=lambda number: (depth[ends[number].target], ends[number].slot)):
        end = ends[number]
        first = 0 if end.source is None else depth[end.source] + 1
        last = max(max(bottoms[first : depth[end.target]]) - NODE_GAP + CLEAR, last + LANE)
        lanes[number] = last
    return lanes, max(max(bottoms) - NODE_GAP, last)


def grid_columns(count: int, block_width: float, block_height: float, head: tuple[float, float], view: float) -> int:
    """How many columns of blocks let the whole be seen largest. head: size of the shared part; view: width / height."""

    def size(columns: int) -> float:
        width = head[0] + columns * block_width
        return max(width, view * max(math.ceil(count / columns) * block_height, head[1]))

    return min(range(1, min(count, 40) + 1), key=size)
