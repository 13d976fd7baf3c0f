"""Part of a graph as one node that can be opened: a subgraph, as front ends from 1.24.3 on keep it.

Source of the format: `exportedSubgraph` of the front end's workflow schema, and what 1.32.9 and 1.58.1 write.
A widget of a node inside is shown outside by its place in `proxyWidgets`; the value stays with the node.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .sizes import SLOT
from .ui_nodes import CanvasLink, CanvasNodes

#: Numbers of the nodes that stand for a subgraph's inputs and outputs inside it, their width, and the room around them.
INPUTS: Final = -10
OUTPUTS: Final = -20
WIDTH: Final = 140.0
GAP: Final = 100.0
#: As high as the first sockets of the nodes are, so that links pass behind these and not over the groups' titles.
SOCKETS: Final = 100.0

Slot = dict[str, Any]
#: An output of a node, by number and slot.
Source = tuple[int, int]


@dataclass
class Subgraph:
    """Nodes `members` of a graph as one node.

    Attributes:
        number, name: of the node that stands for them.
        shown: widgets inside that are shown outside: number of the node, name of the widget.
        inside, outside: links of the subgraph, and of the graph that holds it.
        inputs, outputs: the slots that links go through, by the output they come from.
    """

    number: int
    name: str
    members: Collection[int]
    shown: list[tuple[int, str]]
    inside: list[CanvasLink] = field(default_factory=list)
    outside: list[CanvasLink] = field(default_factory=list)
    inputs: dict[Source, Slot] = field(default_factory=dict)
    outputs: dict[Source, Slot] = field(default_factory=dict)

    def instance(self, identity: str, size: tuple[float, float]) -> dict[str, Any]:
        """The node that stands for the subgraph, still without a place."""
        number = self.number
        ends: dict[int, int] = {link[4]: link[0] for link in self.outside if link[3] == number}
        starts: dict[int, list[int]] = {}
        for link in self.outside:
            if link[1] == number:
                starts.setdefault(link[2], []).append(link[0])
        return {
            "id": number,
            "type": identity,
            "pos": None,
            "size": [round(side) for side in size],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": [
                {"name": slot["name"], "type": slot["type"], "link": ends[index]}
                for index, slot in enumerate(self.inputs.values())
            ],
            "outputs": [
                {"name": slot["name"], "type": slot["type"], "links": starts[index]}
                for index, slot in enumerate(self.outputs.values())
            ],
            "properties": {"proxyWidgets": [[str(node), widget] for node, widget in self.shown]},
            "widgets_values": [],
            "title": self.name,
        }

    def definition(
        self, nodes: list[dict[str, Any]], groups: list[dict[str, Any]], box: tuple[float, float, float, float]
    ) -> dict[str, Any]:
        """The subgraph's content. nodes: placed. box: left, top, right and bottom of what is inside."""
        left, top, right, _ = box
        slots = [*self.inputs.values(), *self.outputs.values()]
        content = json.dumps([[self.name, *nodes], self.inside])
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, content)),
            "version": 1,
            "state": {
                "lastGroupId": len(groups),
                "lastNodeId": max(self.members),
                "lastLinkId": max((link[0] for link in self.inside), default=0),
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "inputNode": {"id": INPUTS, "bounding": _end(left - GAP - WIDTH, top + SOCKETS, len(self.inputs))},
            "outputNode": {"id": OUTPUTS, "bounding": _end(right + GAP, top + SOCKETS, len(self.outputs))},
            "inputs": [slot | {"id": _slot_id(content, slot)} for slot in slots[: len(self.inputs)]],
            "outputs": [slot | {"id": _slot_id(content, slot)} for slot in slots[len(self.inputs) :]],
            "widgets": [],
            "nodes": nodes,
            "groups": groups,
            "links": [
                {
                    "id": number,
                    "origin_id": source,
                    "origin_slot": slot,
                    "target_id": target,
                    "target_slot": end,
                    "type": kind,
                }
                for number, source, slot, target, end, kind in self.inside
            ],
            "extra": {},
        }


def enclose(
    canvas: CanvasNodes, links: list[CanvasLink], members: Collection[int], name: str, number: int,
    widgets: Mapping[str, Collection[str]],
) -> Subgraph:  # fmt: skip
    """Put `members` into a subgraph; the nodes' slots get the links they have then.

    Args:
        links: of the graph so far; the subgraph's `outside` takes their place.
        name, number: title and number of the node that stands for them.
        widgets: names of widgets to show outside, by node class; those that a link sets are not shown.

    """
    part = Subgraph(number, name, members, _shown(canvas, members, widgets))
    for link in links:
        link_number, source, slot, target, end, kind = link
        origin, inner, outer = (source, slot), source in members, target in members
        if inner and outer:
            part.inside.append(link)
        elif outer:
            if origin not in part.inputs:
                free = canvas.free_link()
                _add(part.inputs, origin, canvas.written[target - 1]["inputs"][end]["name"], kind)
                part.outside.append((free, source, slot, number, len(part.inputs) - 1, kind))
                _link(canvas, origin, free)
            part.inside.append((link_number, INPUTS, list(part.inputs).index(origin), target, end, kind))
            part.inputs[origin]["linkIds"].append(link_number)
            _unlink(canvas, origin, link_number)
        elif inner:
            if origin not in part.outputs:
                free = canvas.free_link()
                _add(part.outputs, origin, canvas.written[source - 1]["outputs"][slot]["name"], kind)
                part.outputs[origin]["linkIds"].append(free)
                part.inside.append((free, source, slot, OUTPUTS, len(part.outputs) - 1, kind))
                _link(canvas, origin, free)
            part.outside.append((link_number, number, list(part.outputs).index(origin), target, end, kind))
            _unlink(canvas, origin, link_number)
        else:
            part.outside.append(link)
    return part


def _shown(
    canvas: CanvasNodes, members: Collection[int], widgets: Mapping[str, Collection[str]]
) -> list[tuple[int, str]]:
    found = []
    for number in sorted(members):
        node = canvas.written[number - 1]
        open_widgets = {entry["name"] for entry in node["inputs"] if "widget" in entry and entry["link"] is None}
        found += [(number, name) for name in widgets.get(node["type"], ()) if name in open_widgets]
    return found


def _add(slots: dict[Source, Slot], origin: Source, name: str, kind: str) -> None:
    taken = {slot["name"] for slot in slots.values()}
    unique = next(one for one in (name, *(f"{name}_{count}" for count in range(2, 99))) if one not in taken)
    slots[origin] = {"name": unique, "type": kind, "linkIds": []}


def _link(canvas: CanvasNodes, origin: Source, number: int) -> None:
    output = canvas.output(origin)
    output["links"] = [*(output["links"] or ()), number]


def _unlink(canvas: CanvasNodes, origin: Source, number: int) -> None:
    output = canvas.output(origin)
    output["links"] = [link for link in output["links"] if link != number]


def _end(left: float, top: float, slots: int) -> list[float]:
    return [round(left), round(top), WIDTH, 40.0 + SLOT * max(slots, 1)]


def _slot_id(content: str, slot: Slot) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, content + slot["name"] + json.dumps(slot["linkIds"])))
