"""A graph as the JSON that a person drops on the canvas (UI format 0.4): sizes, places, widgets, links, groups.

Source of the format: the front end's own workflow schema (version 0.4) and what it saves itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from . import layout, routes
from .downloads import download
from .graph import Graph, Link, Node, WorkflowError
from .schemas import Input, NodeSchema, node_schema
from .sizes import FOOT, SLOT, node_size, note_size, widget_heights
from .stages import STAGES, stage_of

#: The front end keeps numbers as doubles: larger integers would change when it loads them.
MAX_INTEGER: Final = 2**53 - 1

#: Shapes of slots: an output that carries a list, an input that may stay open.
_LIST_SHAPE: Final = 6
_OPTIONAL_SHAPE: Final = 7
#: The whole graph is shown at first open on a canvas of this many pixels, but never smaller than text stays legible.
_VIEW: Final = (1500.0, 760.0)
#: Left and top of the canvas that the side bar and the tabs cover.
_COVERED: Final = (70.0, 120.0)
_SMALLEST: Final = 0.575


class _Writer:
    """One graph on its way to the canvas: numbered nodes, their schemas and sizes, the links between them."""

    def __init__(self, graph: Graph, object_info: Mapping[str, Any] | None) -> None:
        self.graph = graph
        self.number = {node_id: index + 1 for index, node_id in enumerate(graph.nodes)}
        known: dict[str, NodeSchema] = {}
        for node in graph.nodes.values():
            if node.class_type not in known:
                known[node.class_type] = node_schema(node.class_type, object_info)
        self.schemas = {node.id: known[node.class_type] for node in graph.nodes.values()}
        self.sizes = {
            node.id: node_size(self.schemas[node.id], node.title, node.inputs) for node in graph.nodes.values()
        }
        self.links: list[list[Any]] = []
        self.inputs: dict[str, list[dict[str, Any]]] = {}
        self.outgoing: dict[tuple[str, int], list[int]] = {}
        self.wires: list[routes.Wire] = []
        for node in graph.nodes.values():
            self.inputs[node.id] = self._inputs(node)

    def _inputs(self, node: Node) -> list[dict[str, Any]]:
        """Socket inputs, then widget inputs, as the front end lists them; makes the links that end here."""
        schema = self.schemas[node.id]
        unknown = node.inputs.keys() - schema.names
        if unknown:
            raise WorkflowError(
                f"{node.class_type} has no input {sorted(unknown)}",
                field=node.id,
                remedy="The host's node differs from what this graph was built for: update the host or this pack.",
            )
        heights: list[float] = []
        entries: list[dict[str, Any]] = []
        for slot, entry in enumerate(schema.slots):
            value = node.inputs.get(entry.name)
            link = None
            if isinstance(value, Link):
                heights = heights or _slot_heights(schema, node, self.sizes[node.id][0])
                link = self._link(value, node, slot, entry, heights[slot])
            made: dict[str, Any] = {"name": entry.name, "type": entry.type, "link": link}
            if entry.optional:
                made["shape"] = _OPTIONAL_SHAPE
            if entry.widget:
                made["widget"] = {"name": entry.name}
            entries.append(made)
        return entries

    def _link(self, value: Link, node: Node, slot: int, entry: Input, target_y: float) -> int:
        outputs = self.schemas[value.node].outputs
        if value.slot >= len(outputs):
            raise WorkflowError(
                f"output {value.slot} does not exist on {self.graph.nodes[value.node].class_type}",
                field=f"{node.id}.{entry.name}",
                remedy=f"It has {len(outputs)} outputs; correct the model description.",
            )
        number = len(self.links) + 1
        source, target = self.number[value.node], self.number[node.id]
        self.links.append([number, source, value.slot, target, slot, outputs[value.slot].type])
        self.outgoing.setdefault((value.node, value.slot), []).append(number)
        source_y = (value.slot + 0.7) * SLOT
        self.wires.append(routes.Wire(number, source, value.slot, source_y, target, target_y))
        return number

    def boxes(self) -> list[layout.Box]:
        found = []
        for node in self.graph.nodes.values():
            fed = any(isinstance(value, Link) for value in node.inputs.values())
            stage = self.graph.stages.get(node.id) or stage_of(node.class_type, fed=fed)
            width, height = self.sizes[node.id]
            found.append(layout.Box(self.number[node.id], stage, self.graph.bands.get(node.id, 0), width, height))
        return found

    def node(self, node: Node, position: tuple[float, float]) -> dict[str, Any]:
        schema = self.schemas[node.id]
        properties: dict[str, Any] = {"cnr_id": schema.pack, "Node name for S&R": node.class_type}
        models = _models(node)
        if models:
            properties["models"] = models
        made: dict[str, Any] = {
            "id": self.number[node.id],
            "type": node.class_type,
            "pos": [round(position[0]), round(position[1])],
            "size": [round(self.sizes[node.id][0]), round(self.sizes[node.id][1])],
            "flags": {},
            "order": self.number[node.id] - 1,
            "mode": 0,
            "inputs": self.inputs[node.id],
            "outputs": self._outputs(node),
            "properties": properties,
            "widgets_values": widget_values(schema, node),
        }
        if node.title and node.title != schema.display_name:
            made["title"] = node.title
        return made

    def _outputs(self, node: Node) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for slot, output in enumerate(self.schemas[node.id].outputs):
            made: dict[str, Any] = {"name": output.name, "type": output.type, "slot_index": slot}
            if output.listed:
                made["shape"] = _LIST_SHAPE
            made["links"] = self.outgoing.get((node.id, slot)) or None
            entries.append(made)
        return entries


def widget_values(schema: NodeSchema, node: Node) -> list[Any]:
    """`widgets_values`: one entry per widget in order, linked ones too, and one per widget the front end adds.

    A linked widget holds its default. Raises WorkflowError for integers that the front end cannot keep.
    """
    values: list[Any] = []
    for entry in schema.widgets:
        value = node.inputs.get(entry.name, entry.default)
        if isinstance(value, Link) or value is None:
            value = _blank(entry)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
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
    """Download entries of the files that a loader names."""
    found = [download(value) for value in node.inputs.values() if isinstance(value, str)]
    return [entry for entry in found if entry is not None]


def _slot_heights(schema: NodeSchema, node: Node, width: float) -> list[float]:
    """How far below a node's top its input slots are: sockets first, then the widgets."""
    heights = [(slot + 0.7) * SLOT for slot in range(len(schema.sockets))]
    if not any(isinstance(node.inputs.get(entry.name), Link) for entry in schema.widgets):
        return heights  # nothing ends at a widget
    y = max(len(schema.sockets), len(schema.outputs), 1) * SLOT + FOOT
    rows = iter(widget_heights(schema, node.inputs, width))
    for entry in schema.widgets:
        heights.append(y + SLOT / 2)
        y += next(rows) + (next(rows) if entry.control or entry.upload else 0.0)
    return heights


def write(
    graph: Graph,
    *,
    object_info: Mapping[str, Any] | None = None,
    note: str = "",
    labels: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """The canvas's JSON of `graph`.

    object_info: the host's, for nodes that the table of `schemas` does not know. note: Markdown text for a note on the
    canvas. labels: what is added to the groups' titles, by band. Raises WorkflowError.
    """
    writer = _Writer(graph, object_info)
    boxes = writer.boxes()
    note_id = len(boxes) + 1
    if note:
        width, height = note_size(note)
        boxes.append(layout.Box(note_id, "note", 0, width, height))
    placed = layout.arrange(boxes, writer.wires)
    nodes = [writer.node(node, placed.positions[writer.number[node.id]]) for node in graph.nodes.values()]
    if note:
        nodes.append(_note(note_id, note, placed.positions[note_id], note_size(note)))
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, repr(graph.nodes))),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(writer.links),
        "nodes": nodes,
        "links": writer.links,
        "groups": _groups(placed, labels or {}),
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


def _groups(placed: layout.Layout, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": number + 1,
            "title": STAGES[frame.stage].title + labels.get(frame.band, ""),
            "bounding": [round(frame.x), round(frame.y), round(frame.width), round(frame.height)],
            "color": STAGES[frame.stage].colour,
            "font_size": 24,
            "flags": {},
        }
        for number, frame in enumerate(placed.frames)
    ]


def _view(placed: layout.Layout) -> dict[str, Any]:
    """Scale and offset that show the graph whole, or its beginning where it is too large to be read whole."""
    left = min(frame.x for frame in placed.frames)
    top = min([*(frame.y for frame in placed.frames), *(point.y for point in placed.reroutes)])
    width = max(frame.x + frame.width for frame in placed.frames) - left
    height = max(frame.y + frame.height for frame in placed.frames) - top
    scale = min(1.0, max(_SMALLEST, min(_VIEW[0] / (width + 80), _VIEW[1] / (height + 80))))
    return {"scale": round(scale, 3), "offset": [round(_COVERED[0] / scale - left), round(_COVERED[1] / scale - top)]}


def _reroutes(placed: layout.Layout) -> dict[str, Any]:
    if not placed.reroutes:
        return {}
    points = [
        {
            "id": point.id,
            **({"parentId": point.parent} if point.parent is not None else {}),
            "pos": [round(point.x), round(point.y)],
            "linkIds": point.links,
        }
        for point in placed.reroutes
    ]
    ends = [{"id": link, "parentId": point} for link, point in placed.last_point.items()]
    return {"reroutes": points, "linkExtensions": ends}
