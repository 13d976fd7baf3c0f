"""A graph as the JSON that a person drops on the canvas (UI format 0.4): sizes, places, widgets, links, groups.

Source of the format: the front end's own workflow schema (version 0.4) and what it saves itself.
"""

from __future__ import annotations

import gc
import hashlib
import marshal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from . import layout, routes
from .downloads import download
from .graph import Graph, Link, Node, WorkflowError
from .grid import Parts, Placed, place
from .rows import FONT, TEXT_BOX, CanvasLink
from .schemas import Input, NodeSchema, node_schema
from .sizes import FOOT, SLOT, node_size, note_size, widget_heights
from .stages import STAGES, stage_of

#: The front end keeps numbers as doubles: larger integers would change when it loads them.
MAX_INTEGER: Final = 2**53 - 1

#: Shapes of slots: an output that carries a list, an input that may stay open.
_LIST_SHAPE: Final = 6
_OPTIONAL_SHAPE: Final = 7
#: The whole graph is shown at first open on a canvas of this many pixels, or its beginning where it is larger than the
#: front end can show.
_VIEW: Final = (1520.0, 745.0)
#: Left and top of the canvas that the side bar and the tabs cover.
_COVERED: Final = (70.0, 138.0)
_SMALLEST: Final = 0.1
_BEGINNING: Final = 0.575  # the front end leaves texts out below this
_SAMPLE_COLOUR: Final = "#3f8a4f"
_SHARED_FONT: Final = 30  # of the groups beside a grid; larger would run into the badges


@dataclass(frozen=True)
class _Kind:
    """What is the same for all nodes of a class. slot: input name -> slot number; inputs, outputs: without links."""

    schema: NodeSchema
    slot: Mapping[str, int]
    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]


def _kind(schema: NodeSchema) -> _Kind:
    inputs, outputs = [], []
    for entry in schema.slots:
        made: dict[str, Any] = {"name": entry.name, "type": entry.type, "link": None}
        if entry.optional:
            made["shape"] = _OPTIONAL_SHAPE
        if entry.widget:
            made["widget"] = {"name": entry.name}
        inputs.append(made)
    for slot, output in enumerate(schema.outputs):
        made = {"name": output.name, "type": output.type, "slot_index": slot}
        if output.listed:
            made["shape"] = _LIST_SHAPE
        outputs.append({**made, "links": None})
    return _Kind(schema, {entry.name: slot for slot, entry in enumerate(schema.slots)}, inputs, outputs)


class _Writer:
    """One graph on its way to the canvas: numbered nodes, their schemas and sizes, the links between them.

    Lists by number begin with an entry for the number 0, which no node has.
    """

    def __init__(self, graph: Graph, object_info: Mapping[str, Any] | None) -> None:
        self.graph = graph
        self.nodes = list(graph.nodes.values())
        classes = dict.fromkeys(node.class_type for node in self.nodes)
        self.kinds = {class_type: _kind(node_schema(class_type, object_info)) for class_type in classes}
        types = {name: [output.type for output in kind.schema.outputs] for name, kind in self.kinds.items()}
        self._ends = {node.id: (index, types[node.class_type]) for index, node in enumerate(self.nodes, 1)}
        self.links: list[CanvasLink] = []
        self.inputs: list[list[dict[str, Any]]] = [[]]
        self.outgoing: dict[tuple[int, int], list[int]] = {}
        self.fed: set[int] = set()
        self.sizes = [(0, 0)]
        self._alike: dict[str, tuple[int, int]] = {}
        for number, node in enumerate(self.nodes, 1):
            self.inputs.append(self._inputs(number, node))
            self.sizes.append(self._size(node))

    def _size(self, node: Node) -> tuple[int, int]:
        """A node's size; in a repeated graph that of the first of its class, for blocks that are alike."""
        fixed = self._fixed(node)
        if fixed and node.class_type in self._alike:
            return self._alike[node.class_type]
        schema = self.kinds[node.class_type].schema
        width, height = node_size(schema, node.title, node.inputs, TEXT_BOX if fixed else None)
        size = round(width), round(height)
        if fixed:
            self._alike[node.class_type] = size
        return size

    def _fixed(self, node: Node) -> bool:
        return self.graph.repeated and node.id in self.graph.bands

    def _inputs(self, number: int, node: Node) -> list[dict[str, Any]]:
        """Socket inputs, then widget inputs, as the front end lists them; makes the links that end here."""
        kind = self.kinds[node.class_type]
        slots = kind.slot
        entries = [entry.copy() for entry in kind.inputs]
        linked = []
        for name, value in node.inputs.items():
            slot = slots.get(name)
            if slot is None:
                raise WorkflowError(
                    f"{node.class_type} has no input {name!r}",
                    field=node.id,
                    remedy="The host's node differs from what this graph was built for: update the host or this pack.",
                )
            if value.__class__ is Link:
                linked.append((slot, value))
        if linked:
            self.fed.add(number)
            linked.sort(key=_slot)
            for slot, link in linked:
                entries[slot]["link"] = len(self.links) + 1
                self._link(link, number, slot)
        return entries

    def _link(self, value: Link, target: int, slot: int) -> None:
        output = value.slot
        source, types = self._ends[value.node]
        if output >= len(types):
            node = self.nodes[target - 1]
            raise WorkflowError(
                f"output {output} does not exist on {self.graph.nodes[value.node].class_type}",
                field=f"{node.id}.{self.kinds[node.class_type].schema.slots[slot].name}",
                remedy=f"It has {len(types)} outputs; correct the model description.",
            )
        number = len(self.links) + 1
        self.links.append((number, source, output, target, slot, types[output]))
        known = self.outgoing.get((source, output))
        if known is None:
            self.outgoing[source, output] = [number]
        else:
            known.append(number)

    def slot_y(self, number: int, slot: int) -> float:
        """How far below a node's top an input slot is."""
        node = self.nodes[number - 1]
        schema = self.kinds[node.class_type].schema
        if slot < len(schema.sockets):
            return (slot + 0.7) * SLOT
        box = TEXT_BOX if self._fixed(node) else None
        return _widget_slots(schema, node, self.sizes[number][0], box)[slot - len(schema.sockets)]

    def box(self, number: int) -> layout.Box:
        node = self.nodes[number - 1]
        stage = self.graph.stages.get(node.id) or stage_of(node.class_type, fed=number in self.fed)
        return layout.Box(number, stage, self.graph.bands.get(node.id, 0), *self.sizes[number])

    def place(self, notes: Sequence[layout.Box]) -> Placed:
        """Positions of all nodes and of `notes`."""
        if self.graph.repeated:
            bands = [None, *(self.graph.bands.get(node.id) for node in self.nodes)]
            kinds = ["", *(node.class_type for node in self.nodes)]
            return place(Parts(bands, kinds, self.sizes, self.links, self.slot_y, self.box, notes))
        wires = [
            routes.Wire(number, source, output, (output + 0.7) * SLOT, target, self.slot_y(target, slot))
            for number, source, output, target, slot, _ in self.links
        ]
        boxes = [self.box(number) for number in range(1, len(self.nodes) + 1)]
        placed = layout.arrange([*boxes, *notes], wires)
        ends = [{"id": link, "parentId": point} for link, point in placed.last_point.items()]
        return Placed(dict(placed.positions), placed.frames, reroutes=[_point(at) for at in placed.reroutes], ends=ends)

    def node(self, number: int, position: tuple[float, float]) -> dict[str, Any]:
        node = self.nodes[number - 1]
        kind = self.kinds[node.class_type]
        schema = kind.schema
        properties: dict[str, Any] = {"cnr_id": schema.pack, "Node name for S&R": node.class_type}
        if number not in self.fed:
            models = _models(node)
            if models:
                properties["models"] = models
        made: dict[str, Any] = {
            "id": number,
            "type": node.class_type,
            "pos": [round(position[0]), round(position[1])],
            "size": list(self.sizes[number]),
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": self.inputs[number],
            "outputs": self._outputs(number, kind),
            "properties": properties,
            "widgets_values": widget_values(schema, node),
        }
        if node.title and node.title != schema.display_name:
            made["title"] = node.title
        return made

    def _outputs(self, number: int, kind: _Kind) -> list[dict[str, Any]]:
        entries = [entry.copy() for entry in kind.outputs]
        for slot, entry in enumerate(entries):
            entry["links"] = self.outgoing.get((number, slot))
        return entries

    def identity(self, nodes: Sequence[Mapping[str, Any]]) -> str:
        """An id for the graph: the same for the same nodes, values and links."""
        content = [[node["type"], node["widgets_values"]] for node in nodes], self.links
        digest = hashlib.sha256(marshal.dumps(content, 2)).digest()  # 2: the same bytes for the same values, and fast
        return str(uuid.UUID(bytes=digest[:16], version=5))


def _slot(linked: tuple[int, Link]) -> int:
    return linked[0]


def widget_values(schema: NodeSchema, node: Node) -> list[Any]:
    """`widgets_values`: one entry per widget in order, linked ones too, and one per widget the front end adds.

    A linked widget holds its default. Raises WorkflowError for integers that the front end cannot keep.
    """
    values: list[Any] = []
    inputs = node.inputs
    for entry in schema.widgets:
        value = inputs.get(entry.name, entry.default)
        kind = value.__class__  # this runs for every widget of thousands of nodes
        if kind is Link or value is None:
            value = _blank(entry)
        elif kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise WorkflowError(
                f"{value} is larger than 2^53 - 1, the largest whole number that the canvas keeps exactly",
                field=f"{node.id}.{entry.name}",
                remedy="Use style 'eri', whose numbers travel as text, or the API form.",
            )
        values.append(value)
        if entry.control:
            values.append("fixed")
        if entry.upload:
            values.append("image")
    return values


def _blank(entry: Input) -> Any:
    if entry.default is not None:
        return entry.default
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(entry.type, "")


def _models(node: Node) -> list[dict[str, str]]:
    """Download entries of the files that a loader, a node that nothing feeds, names."""
    found = [download(value) for value in node.inputs.values() if isinstance(value, str)]
    return [entry for entry in found if entry is not None]


def _widget_slots(schema: NodeSchema, node: Node, width: float, box: float | None) -> list[float]:
    """How far below a node's top the input slots of its widgets are."""
    heights = []
    y = max(len(schema.sockets), len(schema.outputs), 1) * SLOT + FOOT
    rows = iter(widget_heights(schema, node.inputs, width, box))
    for entry in schema.widgets:
        heights.append(y + SLOT / 2)
        y += next(rows) + (next(rows) if entry.control or entry.upload else 0.0)
    return heights


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collections: they would go through all that was made so far again and again, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write(
    graph: Graph,
    *,
    object_info: Mapping[str, Any] | None = None,
    note: str = "",
    labels: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """The canvas's JSON of `graph`.

    object_info: the host's, for nodes that the table of `schemas` does not know. note: Markdown text for a note on the
    canvas. labels: by band, what is added to its groups' titles, or the whole title where every band is one sample's.
    Raises WorkflowError.
    """
    with _uncollected():
        return _write(_Writer(graph, object_info), note, labels or {})


def _write(writer: _Writer, note: str, labels: Mapping[int, str]) -> dict[str, Any]:
    note_id = len(writer.nodes) + 1
    notes = [layout.Box(note_id, "note", 0, *note_size(note))] if note else []
    placed = writer.place(notes)
    nodes = [writer.node(number, placed.positions[number]) for number in range(1, note_id)]
    if note:
        nodes.append(_note(note_id, note, placed.positions[note_id], note_size(note)))
    return {
        "id": writer.identity(nodes),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(writer.links),
        "nodes": nodes,
        "links": [list(link) for link in writer.links],
        "groups": _groups(placed, labels),
        "config": {},
        "extra": {"ds": _view(placed), **_reroutes(placed)},
        "version": 0.4,
    }


def _note(number: int, text: str, position: tuple[float, float], size: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [round(value) for value in position],
        "size": [round(value) for value in size],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "About this graph",
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _groups(placed: Placed, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    groups = [
        _group(
            STAGES[frame.stage].title + ("" if placed.blocks else labels.get(frame.band, "")),
            (frame.x, frame.y, frame.width, frame.height),
            STAGES[frame.stage].colour,
            min(_SHARED_FONT, int(1.7 * frame.width / len(STAGES[frame.stage].title))) if placed.blocks else 24,
        )
        for frame in placed.frames
    ]
    groups += [_group(labels[band], bounds, _SAMPLE_COLOUR, FONT) for band, *bounds in placed.blocks]
    for number, group in enumerate(groups, 1):
        group["id"] = number
    return groups


def _group(title: str, bounds: Sequence[float], colour: str, font: int) -> dict[str, Any]:
    bounding = [round(value) for value in bounds]
    return {"id": 0, "title": title, "bounding": bounding, "color": colour, "font_size": font, "flags": {}}


def _view(placed: Placed) -> dict[str, Any]:
    """Scale and offset that show the graph whole, or its beginning where the canvas cannot be made so small."""
    areas = [(frame.x, frame.y, frame.width, frame.height) for frame in placed.frames]
    areas += [(x, y, width, height) for _, x, y, width, height in placed.blocks]
    left = min(x for x, _, _, _ in areas)
    top = min([*(y for _, y, _, _ in areas), *(point["pos"][1] for point in placed.reroutes)])
    width = max(x + width for x, _, width, _ in areas) - left
    height = max(y + height for _, y, _, height in areas) - top
    scale = min(1.0, _VIEW[0] / (width + 20), _VIEW[1] / (height + 20))
    scale = round(scale, 3) if scale > _SMALLEST else _BEGINNING
    return {"scale": scale, "offset": [round(_COVERED[0] / scale - left), round(_COVERED[1] / scale - top)]}


def _point(point: routes.Reroute) -> dict[str, Any]:
    parent = {"parentId": point.parent} if point.parent is not None else {}
    return {"id": point.id, **parent, "pos": [round(point.x), round(point.y)], "linkIds": point.links}


def _reroutes(placed: Placed) -> dict[str, Any]:
    return {"reroutes": placed.reroutes, "linkExtensions": placed.ends} if placed.reroutes else {}
