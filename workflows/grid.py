"""A grid of blocks beside the part that they share: places, frames, and the lines between them (see `rows.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def place(parts: Parts) -> Placed:
    """Lay out a graph whose bands are samples. The same input gives the same layout."""
    home = homes(parts.bands, parts.links)
    members: dict[int, list[int]] = {}
    for number in range(1, len(home)):
        members.setdefault(home[number], []).append(number)
    shared = members.pop(SHARED, [])
    arriving: dict[int, list[CanvasLink]] = {}
    inner, outward = [], []
    for link in parts.links:
        band = home[link[3]]
        if band == SHARED:
            inner.append(link)
        else:
            arriving.setdefault(band, []).append(link)
            if home[link[1]] == SHARED:
                outward.append(link)
    blocks = _blocks(parts, members, arriving)
    outputs = _outputs(outward)
    head, exits = _head(parts, shared, inner, outputs)
    grid = _Grid(head, exits, outputs, blocks)
    for index, (band, numbers) in enumerate(members.items()):
        grid.add(index, band, numbers, arriving.get(band, ()), blocks[band])
    return grid.finish()


def _blocks(
    parts: Parts, members: Mapping[int, Sequence[int]], arriving: Mapping[int, Sequence[CanvasLink]]
) -> dict[int, Block]:
    """The block of every sample; one for all that have the same nodes, wired alike."""
    made: dict[tuple[object, ...], Block] = {}
    found = {}
    kinds = parts.kinds
    for band, numbers in members.items():
        place_of = {number: place for place, number in enumerate(numbers)}
        links = arriving.get(band, ())
        wiring = [(place_of[link[3]], place_of.get(link[1]), link[2], link[4]) for link in links]
        key = (*[kinds[number] for number in numbers], *wiring)
        if key not in made:
            made[key] = block([parts.sizes[number] for number in numbers], _ends(parts, place_of, links))
        found[band] = made[key]
    return found


def _ends(parts: Parts, place_of: Mapping[int, int], links: Sequence[CanvasLink]) -> list[End]:
    return [
        End(place_of[target], place_of.get(source), slot, parts.slot_y(target, slot), (output + 0.7) * SLOT)
        for _, source, output, target, slot, _ in links
    ]


def _outputs(outward: Sequence[CanvasLink]) -> dict[Output, list[int]]:
    """The shared outputs that blocks use, with their links, in the order of their first use."""
    found: dict[Output, list[int]] = {}
    for number, source, slot, _, _, _ in outward:
        found.setdefault((source, slot), []).append(number)
    return found


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
        outputs: Mapping[Output, Sequence[int]],
        blocks: Mapping[int, Block],
    ) -> None:
        self.placed = Placed(dict(head.positions), head.frames)
        shapes = {id(shape): shape for shape in blocks.values()}.values()
        self.width, self.height = max(shape.width for shape in shapes), max(shape.height for shape in shapes)
        top = min(frame.y for frame in head.frames)
        right = max(frame.x + frame.width for frame in head.frames)
        bottom = max(frame.y + frame.height for frame in head.frames)
        lines = LANE * len(outputs)
        self.left = right + MARGIN
        self.step = lines + self.width + MARGIN
        self.columns = grid_columns(len(blocks), self.step, self.height + BLOCK_GAP, (right, bottom - top), VIEW)
        self.top = top + (lines if self.columns > 1 else 0.0)
        self.indent = lines + LANE / 2
        for point in head.reroutes:
            self._point(point.x, point.y, point.parent, point.links)
        self.placed.ends += [{"id": link, "parentId": point} for link, point in head.last_point.items()]
        self.feet: list[dict[Output, tuple[int, int, list[int]]]] = []
        self._lines(exits)

    def _point(self, x: float, y: float, parent: int | None, links: list[int]) -> int:
        points = self.placed.reroutes
        number = len(points) + 1
        if parent is None:
            points.append({"id": number, "pos": [round(x), round(y)], "linkIds": links})
        else:
            points.append({"id": number, "parentId": parent, "pos": [round(x), round(y)], "linkIds": links})
        return number

    def _lines(self, exits: Mapping[Output, _Exit]) -> None:
        """The lines' upper ends: where an output leaves the shared part, then along the top from column to column."""
        parents: dict[Output, int] = {}
        for column in range(self.columns):
            feet = {}
            for index, (output, way_out) in enumerate(exits.items()):
                x = round(self.left + column * self.step + LANE * (len(exits) - 1 - index))
                y = way_out.y if column == 0 else self.top - LANE * (index + 1)
                if column == 1:  # up from where the first column's line begins
                    parents[output] = self._point(self.feet[0][output][1], y, parents[output], [])
                links: list[int] = []
                parents[output] = self._point(x, y, parents.get(output, way_out.point), links)
                feet[output] = (parents[output], x, links)
            self.feet.append(feet)

    def add(self, index: int, band: int, numbers: Sequence[int], links: Sequence[CanvasLink], shape: Block) -> None:
        """Put a sample's block into its place, row by row, and lead to it what it needs."""
        row, column = divmod(index, self.columns)
        feet = self.feet[column]
        left = round(self.left + column * self.step + self.indent)
        top = round(self.top + row * (self.height + BLOCK_GAP))
        placed, points, ends = self.placed, self.placed.reroutes, self.placed.ends
        placed.blocks.append((band, left, top, self.width, self.height))
        for number, (x, y) in zip(numbers, shape.places, strict=True):
            placed.positions[number] = left + x, top + y
        for link, way, entry in zip(links, shape.ways, shape.entries, strict=True):
            number = link[0]
            at = None
            if entry is not None:
                at, x, above = feet[link[1], link[2]]
                above.append(number)
                points.append({"id": len(points) + 1, "parentId": at, "pos": [x, top + entry], "linkIds": [number]})
                at = len(points)
            for x, y in way:
                point: dict[str, Any] = {"id": len(points) + 1, "pos": [left + x, top + y], "linkIds": [number]}
                if at is not None:
                    point["parentId"] = at
                points.append(point)
                at = len(points)
            if at is not None:
                ends.append({"id": number, "parentId": at})

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
