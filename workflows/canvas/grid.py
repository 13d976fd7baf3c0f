"""A grid of blocks beside the part that they share: places, frames, and the lines between them (see `rows.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from . import layout
from .routes import LANE, Wire
from .rows import BLOCK_GAP, SHARED, Block, CanvasLink, End, block, grid_columns, homes
from .sizes import SLOT

#: Distance of the grid from the shared part, and of the first line from the blocks on its right.
MARGIN: Final = 60.0
VIEW: Final = 2.0  # width / height of a canvas

Output = tuple[int, int]


@dataclass
class Placed:
    """A layout in the canvas's own terms. positions: by node number; frames: the shared part's groups, blocks: by
    sample, x, y, width, height; reroutes and ends as the canvas keeps them.
    """

    positions: dict[int, tuple[float, float]]
    frames: Sequence[layout.Frame]
    blocks: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    reroutes: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Exit:
    """Where a shared output leaves the shared part; point: the reroute point before it."""

    x: float
    y: float
    point: int | None


@dataclass(frozen=True)
class Parts:
    """What there is to place, by node number (0 is nobody's). kinds: names of the nodes' classes; slot_y: how far below
    a node's top an input slot is; box: a shared node as a box; notes: boxes beside the graph.
    """

    bands: Sequence[int | None]
    kinds: Sequence[str]
    sizes: Sequence[tuple[float, float]]
    links: Sequence[CanvasLink]
    slot_y: Callable[[int, int], float]
    box: Callable[[int], layout.Box]
    notes: Sequence[layout.Box] = ()


@dataclass(frozen=True)
class _Sample:
    """What stands in the block of one sample: nodes by number, and the links that end in them."""

    band: int
    nodes: list[int]
    links: list[CanvasLink] = field(default_factory=list)


def place(parts: Parts) -> Placed:
    """Lay out a graph whose bands are samples. The same input gives the same layout."""
    home = homes(parts.bands, parts.links)
    members: dict[int, list[int]] = {}
    for number in range(1, len(home)):
        members.setdefault(home[number], []).append(number)
    shared = members.pop(SHARED, [])
    samples = {band: _Sample(band, nodes) for band, nodes in members.items()}
    inner = []
    outputs: dict[Output, list[int]] = {}
    for link in parts.links:
        number, source, output, target, _, _ = link
        if home[target] == SHARED:
            inner.append(link)
            continue
        samples[home[target]].links.append(link)
        if home[source] == SHARED:
            outputs.setdefault((source, output), []).append(number)
    head, exits = _head(parts, shared, inner, outputs)
    blocks = _blocks(parts, samples.values())
    grid = _Grid(head, exits, blocks)
    for sample, shape in zip(samples.values(), blocks, strict=True):
        grid.add(sample, shape)
    return grid.finish()


def _blocks(parts: Parts, samples: Iterable[_Sample]) -> list[Block]:
    """The block of every sample; one for all that have the same nodes, wired alike."""
    made: dict[tuple[object, ...], Block] = {}
    found = []
    kinds = parts.kinds
    place_of = [SHARED] * len(kinds)  # a node's place in its block
    for sample in samples:
        for place, number in enumerate(sample.nodes):
            place_of[number] = place
        wiring = [(place_of[target], place_of[source], out, slot) for _, source, out, target, slot, _ in sample.links]
        key = (*[kinds[number] for number in sample.nodes], *wiring)
        if key not in made:
            sizes = [parts.sizes[number] for number in sample.nodes]
            made[key] = block(sizes, [_end(parts, place_of, link) for link in sample.links])
        found.append(made[key])
    return found


def _end(parts: Parts, place_of: Sequence[int], link: CanvasLink) -> End:
    _, source, output, target, slot, _ = link
    start = None if place_of[source] == SHARED else place_of[source]
    return End(place_of[target], start, slot, parts.slot_y(target, slot), (output + 0.7) * SLOT)


def _head(
    parts: Parts, shared: Sequence[int], inner: Sequence[CanvasLink], outputs: Mapping[Output, Sequence[int]]
) -> tuple[layout.Layout, dict[Output, _Exit]]:
    """The shared part, and where the outputs that the blocks use leave it on the right."""
    boxes = [replace(parts.box(number), band=0) for number in shared]
    boxes += [replace(note, stage="about") for note in parts.notes]
    wires = [
        _wire(number, source, slot, (target, parts.slot_y(target, at))) for number, source, slot, target, at, _ in inner
    ]
    at = layout.arrange(boxes, wires).positions  # the lines leave from top to bottom as their nodes stand
    outputs = {output: outputs[output] for output in sorted(outputs, key=lambda output: (at[output[0]][1], output[1]))}
    first = len(parts.kinds) + len(parts.notes)
    gates = {output: first + index for index, output in enumerate(outputs)}
    boxes += [layout.Box(gate, "exit", 0, 1.0, 1.0) for gate in gates.values()]
    wires += [_wire(-gate, *output, (gate, 0.0)) for output, gate in gates.items()]
    placed = layout.arrange(boxes, wires)
    carried = {-gates[output]: links for output, links in outputs.items()}
    reroutes = [
        replace(point, links=[link for number in point.links for link in carried.get(number, (number,))])
        for point in placed.reroutes
    ]
    exits = {output: _Exit(*placed.positions[gate], placed.last_point.get(-gate)) for output, gate in gates.items()}
    positions = {number: at for number, at in placed.positions.items() if number < first}
    frames = [frame for frame in placed.frames if frame.stage != "exit"]
    last = {link: point for link, point in placed.last_point.items() if link > 0}
    return layout.Layout(positions, frames, reroutes, last), exits


def _wire(number: int, source: int, slot: int, end: tuple[int, float]) -> Wire:
    return Wire(number, source, slot, (slot + 0.7) * SLOT, *end)


class _Grid:
    """The grid in the making. Every shared output has a line beside each column of blocks, fed along the grid's top."""

    def __init__(
        self,
        head: layout.Layout,
        exits: Mapping[Output, _Exit],
        blocks: Sequence[Block],
    ) -> None:
        self.placed = Placed(dict(head.positions), head.frames)
        shapes = {id(shape): shape for shape in blocks}.values()
        self.width, self.height = max(shape.width for shape in shapes), max(shape.height for shape in shapes)
        top = min(frame.y for frame in head.frames)
        right = max(frame.x + frame.width for frame in head.frames)
        bottom = max(frame.y + frame.height for frame in head.frames)
        lines = LANE * len(exits)
        self.left = right + MARGIN
        self.step = lines + self.width + MARGIN
        self.columns = grid_columns(len(blocks), self.step, self.height + BLOCK_GAP, (right, bottom - top), VIEW)
        self.top = top + (lines if self.columns > 1 else 0.0)
        self.indent = lines + LANE / 2
        for point in head.reroutes:
            self._point(round(point.x), round(point.y), point.parent, point.links)
        self.placed.ends += [{"id": link, "parentId": point} for link, point in head.last_point.items()]
        self.feet: list[dict[Output, tuple[int, int, list[int]]]] = []
        self._lines(exits)

    def _point(self, x: int, y: int, parent: int | None, links: list[int]) -> int:
        points = self.placed.reroutes
        number = len(points) + 1
        if parent is None:
            points.append({"id": number, "pos": [x, y], "linkIds": links})
        else:
            points.append({"id": number, "parentId": parent, "pos": [x, y], "linkIds": links})
        return number

    def _lines(self, exits: Mapping[Output, _Exit]) -> None:
        """The lines' upper ends: where an output leaves the shared part, then along the top from column to column."""
        parents: dict[Output, int] = {}
        for column in range(self.columns):
            feet = {}
            for index, (output, way_out) in enumerate(exits.items()):
                x = round(self.left + column * self.step + LANE * (len(exits) - 1 - index))
                y = round(way_out.y if column == 0 else self.top - LANE * (index + 1))
                if column == 1:  # up from where the first column's line begins
                    parents[output] = self._point(self.feet[0][output][1], y, parents[output], [])
                links: list[int] = []
                parents[output] = self._point(x, y, parents.get(output, way_out.point), links)
                feet[output] = (parents[output], x, links)
            self.feet.append(feet)

    def add(self, sample: _Sample, shape: Block) -> None:
        """Put a sample's block into its place, row by row, and lead to it what it needs."""
        row, column = divmod(len(self.placed.blocks), self.columns)
        feet = self.feet[column]
        left = round(self.left + column * self.step + self.indent)
        top = round(self.top + row * (self.height + BLOCK_GAP))
        placed, points = self.placed, self.placed.reroutes
        placed.blocks.append((sample.band, left, top, self.width, self.height))
        for number, (x, y) in zip(sample.nodes, shape.places, strict=True):
            placed.positions[number] = left + x, top + y
        at = len(points)
        for place, entry, way in shape.led:  # this runs thousands of times: no calls
            number, source, output, _, _, _ = sample.links[place]
            parent = None
            if entry is not None:
                parent, x, above = feet[source, output]
                above.append(number)
                at += 1
                points.append({"id": at, "parentId": parent, "pos": [x, top + entry], "linkIds": [number]})
                parent = at
            for x, y in way:
                at += 1
                point: dict[str, Any] = {"id": at, "pos": [left + x, top + y], "linkIds": [number]}
                if parent is not None:
                    point["parentId"] = parent
                points.append(point)
                parent = at
            placed.ends.append({"id": number, "parentId": at})

    def finish(self) -> Placed:
        """The layout, once all blocks are in: a line carries what the columns behind it use, too."""
        points = self.placed.reroutes
        for column in range(self.columns - 1, 0, -1):
            for foot, _, links in self.feet[column].values():
                before = foot
                for _ in range(2 if column == 1 else 1):  # the first column's lines have a point more
                    before = points[before - 1]["parentId"]
                    points[before - 1]["linkIds"] += links
        return self.placed
