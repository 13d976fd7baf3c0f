"""A graph as the JSON that a person drops on the canvas (UI format 0.4): sizes, places, widgets, links, groups.

Source of the format: the front end's own workflow schema (version 0.4) and what it saves itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ..graph import Graph
from . import layout
from .schemas import CORE
from .sizes import note_size
from .stages import STAGES, stage_of
from .ui_nodes import CanvasLink, CanvasNodes

#: The whole graph is shown at first open on a canvas of this many pixels, or its beginning where it is larger than the
#: front end can show.
_VIEW: Final = (1520.0, 745.0)
#: Left and top of the canvas that the side bar and the tabs cover.
_COVERED: Final = (70.0, 138.0)
_SMALLEST: Final = 0.1
_BEGINNING: Final = 0.575  # the front end leaves texts out below this


def write(
    graph: Graph,
    *,
    object_info: Mapping[str, Any] | None = None,
    note: str = "",
    labels: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the canvas's JSON of `graph`.

    Args:
        object_info: ComfyUI's own, for nodes that the table of `schemas` does not know.
        note: Markdown text for a note on the canvas.
        labels: by band, what is added to its groups' titles, or the title where every band is one sample's.

    Raises WorkflowError.
    """
    canvas = CanvasNodes(graph, object_info)
    nodes = [*canvas.written]
    boxes = _boxes(canvas)
    if note:
        number, size = len(nodes) + 1, note_size(note)
        nodes.append(_note(number, note, size))
        boxes.append(layout.Box(number, "note", 0, *size))
    wires = [(source, target) for _, source, _, target, _, _ in canvas.links]
    groups = (layout.arrange_samples if graph.repeated else layout.arrange)(boxes, wires)
    for group in groups:
        for number, place in group.positions():
            nodes[number - 1]["pos"] = [round(value) for value in place]
    return {
        "id": _identity(nodes, canvas.links),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(canvas.links),
        "nodes": nodes,
        "links": [list(link) for link in canvas.links],
        "groups": [_group(number, group, labels or {}) for number, group in enumerate(groups, 1)],
        "config": {},
        "extra": {"ds": _view(groups)},
        "version": 0.4,
    }


def _boxes(canvas: CanvasNodes) -> list[layout.Box]:
    """The nodes as boxes to place. In a graph of many samples these are of stage "shared" or "sample"."""
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
        stage = stage or stage_of(node.class_type, fed=number in canvas.fed)
        width, height = written["size"]
        badge = canvas.schemas[node.class_type].pack != CORE
        boxes.append(layout.Box(number, stage, band, width, height, badge))
    return boxes


def _identity(nodes: list[dict[str, Any]], links: list[CanvasLink]) -> str:
    """An id for the graph: the same for the same nodes, values and links."""
    content = [[[node["type"], node["widgets_values"]] for node in nodes], links]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content)))


def _note(number: int, text: str, size: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": None,
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


def _group(number: int, group: layout.Group, labels: Mapping[int, str]) -> dict[str, Any]:
    label = "" if group.stage in ("shared", "note") else labels.get(group.band, "")
    return {
        "id": number,
        "title": STAGES[group.stage].title + label,
        "bounding": [round(value) for value in (group.x, group.y, group.width, group.height)],
        "color": STAGES[group.stage].colour,
        "font_size": group.font,
        "flags": {},
    }


def _view(groups: Sequence[layout.Group]) -> dict[str, Any]:
    """Scale and offset that show the graph whole, or its beginning where the canvas cannot be made so small."""
    left, top = min(group.x for group in groups), min(group.y for group in groups)
    width = max(group.x + group.width for group in groups) - left
    height = max(group.y + group.height for group in groups) - top
    scale = min(1.0, _VIEW[0] / (width + 20), _VIEW[1] / (height + 20))
    scale = round(scale, 3) if scale > _SMALLEST else _BEGINNING
    return {"scale": scale, "offset": [round(_COVERED[0] / scale - left), round(_COVERED[1] / scale - top)]}
