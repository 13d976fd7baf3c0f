"""The nodes of a graph on its canvas: their numbers, slots, links, sizes and widgets' values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ...errors import WorkflowError
from ..downloads import download
from ..graph import Graph, Link, Node
from .schemas import Input, NodeSchema, node_schema
from .sizes import node_size

#: The front end keeps numbers as doubles: larger integers would change when it loads them.
MAX_INTEGER: Final = 2**53 - 1

#: Shapes of slots: an output that carries a list, an input that may stay open.
_LIST_SHAPE: Final = 6
_OPTIONAL_SHAPE: Final = 7


#: A link as the canvas writes it: number, source, its slot, target, its slot, type.
CanvasLink = tuple[int, int, int, int, int, str]


class _Slot(NamedTuple):
    """An input of a node class. entry: what the canvas keeps of it, without its link. widget: it has one, which holds
    `blank` where the graph gives no value; added: what the widgets hold that the front end adds behind it.
    """

    name: str
    entry: Mapping[str, Any]
    widget: bool
    blank: Any
    added: Sequence[str]


@dataclass(frozen=True)
class _Kind:
    """What is the same for all nodes of a class: its inputs; its outputs and properties as the canvas keeps them."""

    schema: NodeSchema
    slots: Sequence[_Slot]
    outputs: Sequence[Mapping[str, Any]]
    properties: Mapping[str, Any]


def _kind(schema: NodeSchema) -> _Kind:
    outputs = []
    for slot, output in enumerate(schema.outputs):
        made: dict[str, Any] = {"name": output.name, "type": output.type, "slot_index": slot}
        if output.listed:
            made["shape"] = _LIST_SHAPE
        outputs.append({**made, "links": None})
    properties = {"cnr_id": schema.pack, "Node name for S&R": schema.class_type}
    return _Kind(schema, [_slot(entry) for entry in schema.slots], outputs, properties)


def _slot(entry: Input) -> _Slot:
    made: dict[str, Any] = {"name": entry.name, "type": entry.type, "link": None}
    if entry.optional:
        made["shape"] = _OPTIONAL_SHAPE
    if entry.widget:
        made["widget"] = {"name": entry.name}
    blank = entry.default
    if blank is None:
        blank = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(entry.type, "")
    added = ["fixed"] * entry.control + ["image"] * entry.upload
    return _Slot(entry.name, made, entry.widget, blank, added)


class CanvasNodes:
    """A graph's nodes, numbered from 1 in its order, as the canvas keeps them, and the links between them.

    links: by the nodes they end in. Lists by number begin with an entry for the number 0, which no node has: nodes, as
    the graph has them; written, as the canvas's JSON has them, still without places; sizes, without title bars.
    fed: numbers of the nodes that links end in.
    """

    def __init__(self, graph: Graph, object_info: Mapping[str, Any] | None) -> None:
        """Raises WorkflowError for unknown classes, inputs or outputs, and for values that the canvas cannot keep."""
        self.graph = graph
        self.nodes = [Node("", "", "", {}), *graph.nodes.values()]
        classes = dict.fromkeys(node.class_type for node in graph.nodes.values())
        self.kinds = {class_type: _kind(node_schema(class_type, object_info)) for class_type in classes}
        self.links: list[CanvasLink] = []
        self.fed: set[int] = set()
        self.sizes = [(0, 0)]
        self.written: list[dict[str, Any]] = [{}]
        self._numbers: dict[str, int] = {}
        for number, node in enumerate(graph.nodes.values(), 1):
            self._numbers[node.id] = number
            kind = self.kinds[node.class_type]
            width, height = node_size(kind.schema, node.title, node.inputs)
            self.sizes.append((round(width), round(height)))
            self.written.append(self._write(number, node, kind))

    def _write(self, number: int, node: Node, kind: _Kind) -> dict[str, Any]:
        """A node as the canvas's JSON has it; makes the links that end in it."""
        entries, values = self._inputs(number, node, kind)
        properties = {**kind.properties}
        if number not in self.fed:
            models = _models(node)
            if models:
                properties["models"] = models
        written = {
            "id": number,
            "type": node.class_type,
            "pos": None,
            "size": [*self.sizes[number]],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": entries,
            "outputs": [{**entry} for entry in kind.outputs],
            "properties": properties,
            "widgets_values": values,
        }
        if node.title and node.title != kind.schema.display_name:
            written["title"] = node.title
        return written

    def _inputs(self, number: int, node: Node, kind: _Kind) -> tuple[list[dict[str, Any]], list[Any]]:
        """Socket inputs, then widget inputs, as the front end lists them; and `widgets_values`.

        These have one entry per widget in order, linked ones too, and one per widget the front end adds.
        """
        inputs = node.inputs
        if not inputs.keys() <= kind.schema.names:
            name = next(name for name in inputs if name not in kind.schema.names)
            raise WorkflowError(
                f"{node.class_type} has no input {name!r}",
                field=node.id,
                remedy="The host's node differs from what this graph was built for: update the host or this pack.",
            )
        entries: list[dict[str, Any]] = []
        values: list[Any] = []
        for slot, (name, template, widget, blank, added) in enumerate(kind.slots):
            entry = {**template}
            entries.append(entry)
            value = inputs.get(name)
            if isinstance(value, Link):
                entry["link"] = self._link(value, number, slot)
                value = None
            if widget:
                if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
                    raise WorkflowError(
                        f"{value} is larger than 2^53 - 1, the largest whole number that the canvas keeps exactly",
                        field=f"{node.id}.{name}",
                        remedy="Use style 'eri', whose numbers travel as text, or the API form.",
                    )
                values.append(blank if value is None else value)
                values += added
        return entries, values

    def _link(self, value: Link, target: int, slot: int) -> int:
        source = self._numbers[value.node]
        outputs = self.written[source]["outputs"]
        if value.slot >= len(outputs):
            node = self.nodes[target]
            raise WorkflowError(
                f"output {value.slot} does not exist on {self.graph.nodes[value.node].class_type}",
                field=f"{node.id}.{self.kinds[node.class_type].slots[slot].name}",
                remedy=f"It has {len(outputs)} outputs; correct the model description.",
            )
        output = outputs[value.slot]
        number = len(self.links) + 1
        self.links.append((number, source, value.slot, target, slot, output["type"]))
        if output["links"] is None:
            output["links"] = []
        output["links"].append(number)
        self.fed.add(target)
        return number


def _models(node: Node) -> list[dict[str, str]]:
    """Download entries of the files that a loader, a node that nothing feeds, names."""
    found = [download(value) for value in node.inputs.values() if isinstance(value, str)]
    return [entry for entry in found if entry is not None]
