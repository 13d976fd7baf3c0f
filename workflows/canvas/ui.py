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
from typing import Any, Final

from ..graph import Graph
from . import layout, routes
from .grid import Parts, Placed, place
from .rows import FONT, CanvasLink
from .schemas import CORE
from .sizes import SLOT, note_size
from .stages import STAGES, stage_of
from .ui_nodes import CanvasNodes

#: The whole graph is shown at first open on a canvas of this many pixels, or its beginning where it is larger than the
#: front end can show.
_VIEW: Final = (1520.0, 745.0)
#: Left and top of the canvas that the side bar and the tabs cover.
_COVERED: Final = (70.0, 138.0)
_SMALLEST: Final = 0.1
_BEGINNING: Final = 0.575  # the front end leaves texts out below this
_SAMPLE_COLOUR: Final = "#3f8a4f"
_SHARED_FONT: Final = 30  # of the groups beside a grid; larger would run into the badges


def _place(canvas: CanvasNodes, notes: Sequence[layout.Box]) -> Placed:
    """Positions of all nodes and of `notes`."""
    graph, nodes = canvas.graph, canvas.nodes

    def box(number: int) -> layout.Box:
        node = nodes[number]
        stage = graph.stages.get(node.id) or stage_of(node.class_type, fed=number in canvas.fed)
        badge = canvas.kinds[node.class_type].schema.pack != CORE
        return layout.Box(number, stage, graph.bands.get(node.id, 0), *canvas.sizes[number], badge)

    if graph.repeated:
        bands = [graph.bands.get(node.id) for node in nodes]
        kinds = [node.class_type for node in nodes]
        return place(Parts(bands, kinds, canvas.sizes, canvas.links, canvas.slot_y, box, notes))
    wires = [
        routes.Wire(number, source, output, (output + 0.7) * SLOT, target, canvas.slot_y(target, slot))
        for number, source, output, target, slot, _ in canvas.links
    ]
    placed = layout.arrange([*(box(number) for number in range(1, len(nodes))), *notes], wires)
    ends = [{"id": link, "parentId": point} for link, point in placed.last_point.items()]
    return Placed(dict(placed.positions), placed.frames, reroutes=[_point(at) for at in placed.reroutes], ends=ends)


def _identity(nodes: list[dict[str, Any]], links: list[CanvasLink]) -> str:
    """An id for the graph: the same for the same nodes, values and links."""
    content = [[node["type"], node["widgets_values"]] for node in nodes], links
    digest = hashlib.sha256(marshal.dumps(content, 2)).digest()  # 2: the same bytes for the same values, and fast
    return str(uuid.UUID(bytes=digest[:16], version=5))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collections: they would go through all that was made so far again and again, and find nothing.

    What was made then counts as old, so that the next collection need not go through it either.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:  # else the program has frozen objects, which must stay so
            gc.freeze()
            gc.unfreeze()
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
        return _write(CanvasNodes(graph, object_info), note, labels or {})


def _write(canvas: CanvasNodes, note: str, labels: Mapping[int, str]) -> dict[str, Any]:
    note_id = len(canvas.nodes)
    notes = [layout.Box(note_id, "note", 0, *note_size(note))] if note else []
    placed = _place(canvas, notes)
    nodes = canvas.written[1:]
    for number, node in enumerate(nodes, 1):
        x, y = placed.positions[number]
        node["pos"] = [round(x), round(y)]
    if note:
        nodes.append(_note(note_id, note, placed.positions[note_id], note_size(note)))
    return {
        "id": _identity(nodes, canvas.links),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(canvas.links),
        "nodes": nodes,
        "links": [list(link) for link in canvas.links],
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
