"""A graph as the JSON that a person drops on the canvas (UI format 0.4): sizes, places, widgets, links, groups.

Source of the format: the front end's own workflow schema (version 0.4) and what it saves itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from ...garbage import all_stays
from ..graph import Graph
from . import layout
from .boxing import Boxing, boxing
from .schemas import CORE, Input, NodeSchema, Output
from .sizes import FOLDED, PREVIEW, NodeSizes, note_size
from .stages import ALONE, SAVER, SHOWN, STAGES, stage_of
from .subgraph import Subgraph, enclose
from .ui_nodes import CanvasLink, CanvasNodes

#: The graph is shown whole at first open on a canvas of this many pixels (a window of 1280 x 800), unless it would be
#: shown smaller than that its texts can be read; then its beginning is shown. The scripts fit it to the real canvas.
_VIEW: Final = (1210.0, 680.0)
#: Left and top of the canvas that the side bar and the tabs cover.
_COVERED: Final = (70.0, 110.0)
#: The front end leaves texts out below 8/14.
READABLE: Final = 0.6

#: Nodes with their groups, and where they are: left, top, right, bottom.
Placed = tuple[list[dict[str, Any]], list[dict[str, Any]], tuple[float, float, float, float]]


@all_stays()
def write(
    graph: Graph,
    *,
    object_info: Mapping[str, Any] | None = None,
    note: str = "",
    more: str = "",
    labels: Mapping[int, str] | None = None,
    box: str = "",
) -> dict[str, Any]:
    """Return the canvas's JSON of `graph`.

    Args:
        object_info: ComfyUI's own, for nodes that the table of `schemas` does not know.
        note: Markdown text for a note on the canvas.
        more: the same for a second note, which is folded.
        labels: by band, what is added to its groups' titles, or the title where every band is one sample's.
        box: title of one node for each chain that holds what `boxing` says; "" = every node stands by itself.

    Raises WorkflowError.
    """
    canvas = CanvasNodes(graph, object_info)
    alone, chains = boxing(canvas) if box else Boxing({}, {})
    boxes = {one.id: one for one in _boxes(canvas, alone)}
    links, last = canvas.links, len(canvas.written)
    nodes = {node["id"]: node for node in canvas.written}
    definitions = []
    for band, members in chains.items():
        last += 1
        name = box if band is None else box + (labels or {}).get(band, "")
        part = enclose(canvas, links, members, name, last, SHOWN if band is not None else {})
        inside = [nodes.pop(number) for number in members]
        inner = [boxes.pop(one) if band is None else boxes.pop(one)._replace(band=0) for one in members]
        placed = _placed(inside, inner, part.inside, layout.arrange, {} if band is not None else labels or {})
        definitions.append(part.definition(*placed))
        size = _outer_size(canvas, part)
        nodes[last], links = part.instance(definitions[-1]["id"], size), part.outside
        boxes[last] = layout.Box(last, "box", band or 0, *size)
    if chains and alone != ALONE[0]:  # chains that are little but their box stand together
        boxes = {number: one._replace(band=0) for number, one in boxes.items()}
    for text, title in ((note, "About this graph"), (more, "More")):
        if text:
            last += 1
            nodes[last] = _note(last, title, text, folded=text is more)
            boxes[last] = layout.Box(last, "note", 0, *(FOLDED if text is more else nodes[last]["size"]))
    arrange = layout.arrange_samples if graph.repeated else layout.arrange
    written, groups, bounds = _placed(list(nodes.values()), list(boxes.values()), links, arrange, labels or {})
    return {
        "id": _identity(written, links),
        "revision": 0,
        "last_node_id": last,
        "last_link_id": max((link[0] for link in links), default=0),
        "nodes": written,
        "links": [list(link) for link in sorted(links)],
        "groups": groups,
        **({"definitions": {"subgraphs": definitions}} if definitions else {}),
        "config": {},
        "extra": {"ds": _view(bounds), "eridiffusion": {"unseen": True}},  # web/js/view.js then fits the view
        "version": 0.4,
    }


def _placed(
    nodes: list[dict[str, Any]],
    boxes: Sequence[layout.Box],
    links: Sequence[CanvasLink],
    arrange: Callable[[Sequence[layout.Box], list[layout.Wire]], list[layout.Group]],
    labels: Mapping[int, str],
) -> Placed:
    by_id = {node["id"]: node for node in nodes}
    groups = arrange(boxes, [(link[1], link[3]) for link in links])
    for group in groups:
        for number, place in group.positions():
            by_id[number]["pos"] = [round(value) for value in place]
    bounds = (
        min(group.x for group in groups),
        min(group.y for group in groups),
        max(group.x + group.width for group in groups),
        max(group.y + group.height for group in groups),
    )
    return nodes, [_group(number, group, labels) for number, group in enumerate(groups, 1)], bounds


def _outer_size(canvas: CanvasNodes, part: Subgraph) -> tuple[float, float]:
    """Size of the node that stands for a subgraph, with the slots and the widgets that it shows."""
    node_ids = list(canvas.graph.nodes)
    inputs, values = [], {}
    for number, widget in part.shown:
        node = canvas.graph.nodes[node_ids[number - 1]]
        inputs.append(next(entry for entry in canvas.schemas[node.class_type].widgets if entry.name == widget))
        values[widget] = node.inputs.get(widget, inputs[-1].blank)
    sockets = [Input(slot["name"], slot["type"], widget=False) for slot in part.inputs.values()]
    outputs = tuple(Output(slot["name"], slot["type"]) for slot in part.outputs.values())
    schema = NodeSchema("", part.name, (*sockets, *inputs), outputs, "subgraph")
    width, height = NodeSizes(schema).of(part.name, values)
    saves = any(canvas.written[number - 1]["type"] == SAVER for number in part.members)
    return width, height + (PREVIEW if saves else 0.0)


def _boxes(canvas: CanvasNodes, alone: Mapping[str, str]) -> list[layout.Box]:
    """The nodes as boxes to place. In a graph of many samples these are of stage "shared" or "sample".

    alone: classes that stand beside the boxes of their chains, and their stages there.
    """
    graph = canvas.graph
    shared: Collection[int] = ()
    if graph.repeated:
        bands = [None, *map(graph.bands.get, graph.nodes)]  # no node has the number 0
        shared = layout.shared_nodes(bands, [(source, target) for _, source, _, target, _, _ in canvas.links])
    boxes = []
    for written, node in zip(canvas.written, graph.nodes.values(), strict=True):
        number, stage, band = written["id"], graph.stages.get(node.id), graph.bands.get(node.id, 0)
        if graph.repeated:
            stage, band = ("shared", 0) if number in shared else ("sample", band)
        stage = alone.get(node.class_type, stage)
        stage = stage or stage_of(node.class_type, fed=number in canvas.fed)
        width, height = written["size"]
        badge = canvas.schemas[node.class_type].pack != CORE
        boxes.append(layout.Box(number, stage, band, width, height, badge))
    return boxes


def _identity(nodes: list[dict[str, Any]], links: list[CanvasLink]) -> str:
    """An id for the graph: the same for the same nodes, values and links."""
    content = [[[node["type"], node["widgets_values"]] for node in nodes], links]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content)))


def _note(number: int, title: str, text: str, *, folded: bool) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": None,
        "size": [round(value) for value in note_size(text)],
        "flags": {"collapsed": True} if folded else {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": title,
        "properties": {},
        "widgets_values": [text],
        "color": "#322c1b",
        "bgcolor": "#3a3420",
    }


def _group(number: int, group: layout.Group, labels: Mapping[int, str]) -> dict[str, Any]:
    label = "" if group.stage in ("shared", "note") else labels.get(group.band, "")
    return {
        "id": number,
        "title": STAGES[group.stage].title + label,
        "bounding": [round(value) for value in (group.x, group.y, group.width, group.height)],
        "color": STAGES[group.stage].colour,
        "font_size": layout.FONT,
        "flags": {},
    }


def _view(bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    """Scale and offset that show the graph whole, or its beginning where its texts could not be read."""
    left, top, right, bottom = bounds
    scale = min(1.0, _VIEW[0] / (right - left + 20), _VIEW[1] / (bottom - top + 20))
    scale = max(READABLE, round(scale, 3))
    return {"scale": scale, "offset": [round(_COVERED[0] / scale - left), round(_COVERED[1] / scale - top)]}
