"""The nodes of a graph on its canvas: their numbers, slots, links, sizes and widgets' values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...errors import WorkflowError
from ...families import download
from ..graph import Graph, Link, Literal, Node
from .schemas import Input, NodeSchema, Output, node_schema
from .sizes import NodeSizes

#: The front end keeps numbers as doubles: larger integers would change when it loads them.
MAX_INTEGER: Final = 2**53 - 1

#: Shapes of slots: an output that carries a list, an input that may stay open.
_LIST_SHAPE: Final = 6
_OPTIONAL_SHAPE: Final = 7

#: A link as the canvas writes it: number, source, its slot, target, its slot, type.
CanvasLink = tuple[int, int, int, int, int, str]


class CanvasNodes:
    """A graph's nodes, numbered from 1 in its order, as the canvas keeps them, and the links between them.

    Attributes:
        schemas: by node class.
        written: the nodes as the canvas's JSON has them, still without places.
        links: by the nodes they end in.
        fed: numbers of the nodes that links end in.
    """

    def __init__(self, graph: Graph, object_info: Mapping[str, Any] | None) -> None:
        """Raises WorkflowError for unknown classes, inputs or outputs, and for values that the canvas cannot keep."""
        self.graph = graph
        classes = dict.fromkeys(node.class_type for node in graph.nodes.values())
        self.schemas = {class_type: node_schema(class_type, object_info) for class_type in classes}
        self._slots = {kind: [_slot(entry) for entry in schema.slots] for kind, schema in self.schemas.items()}
        self._sizes = {kind: NodeSizes(schema) for kind, schema in self.schemas.items()}
        self.links: list[CanvasLink] = []
        self.fed: set[int] = set()
        self.written: list[dict[str, Any]] = []
        self._numbers = {node_id: number for number, node_id in enumerate(graph.nodes, 1)}
        for node in graph.nodes.values():
            self.written.append(self._write(node, self.schemas[node.class_type]))
        self._last_link = len(self.links)

    def output(self, origin: tuple[int, int]) -> dict[str, Any]:
        """The slot of a node's output as it is written. origin: number of the node, and which output."""
        number, slot = origin
        found: dict[str, Any] = self.written[number - 1]["outputs"][slot]
        return found

    def free_link(self) -> int:
        """A number for one more link, which is nobody's yet."""
        self._last_link += 1
        return self._last_link

    def _write(self, node: Node, schema: NodeSchema) -> dict[str, Any]:
        """A node as the canvas's JSON has it; makes the links that end in it."""
        number = self._numbers[node.id]
        entries, values = self._inputs(node, number, schema)
        properties: dict[str, Any] = {"cnr_id": schema.pack, "Node name for S&R": schema.class_type}
        models = _models(node) if number not in self.fed else []
        if models:
            properties["models"] = models
        written = {
            "id": number,
            "type": node.class_type,
            "pos": None,
            "size": [round(side) for side in self._sizes[node.class_type].of(node.title, node.inputs)],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": entries,
            "outputs": [_output(slot, output) for slot, output in enumerate(schema.outputs)],
            "properties": properties,
            "widgets_values": values,
        }
        if node.title and node.title != schema.display_name:
            written["title"] = node.title
        return written

    def _inputs(self, node: Node, number: int, schema: NodeSchema) -> tuple[list[dict[str, Any]], list[Any]]:
        """Socket inputs, then widget inputs, as the front end lists them; and `widgets_values`.

        These have one entry per widget in order, linked ones too, and one per widget the front end adds.
        """
        if not schema.names.issuperset(node.inputs):
            unknown = [name for name in node.inputs if name not in schema.names]
            raise WorkflowError(
                f"{node.class_type} has no input {unknown[0]!r}",
                field=node.id,
                remedy="ComfyUI's node differs from what this graph was built for: update ComfyUI or this pack.",
            )
        entries: list[dict[str, Any]] = []
        values: list[Any] = []
        given = node.inputs
        for slot, (entry, unlinked) in enumerate(zip(schema.slots, self._slots[node.class_type], strict=True)):
            made = unlinked.copy()
            value = given.get(entry.name)
            if isinstance(value, Link):
                made["link"] = self._link(value, number, slot)
                value = None
            if entry.widget:
                made["widget"] = {"name": entry.name}
                values.append(entry.blank if value is None else _kept(value, node, entry.name))
                if entry.control:
                    values.append("fixed")
                if entry.upload:
                    values.append("image")
            entries.append(made)
        return entries, values

    def _link(self, value: Link, target: int, slot: int) -> int:
        source = self._numbers[value.node]
        outputs = self.written[source - 1]["outputs"]
        if value.slot >= len(outputs):
            node = list(self.graph.nodes.values())[target - 1]
            raise WorkflowError(
                f"output {value.slot} does not exist on {self.graph.nodes[value.node].class_type}",
                field=f"{node.id}.{self.schemas[node.class_type].slots[slot].name}",
                remedy=f"It has {len(outputs)} outputs; correct the model description.",
            )
        output = outputs[value.slot]
        number = len(self.links) + 1
        self.links.append((number, source, value.slot, target, slot, output["type"]))
        if output["links"] is None:
            output["links"] = [number]
        else:
            output["links"].append(number)
        self.fed.add(target)
        return number


def _slot(entry: Input) -> dict[str, Any]:
    """A slot of an input without its link and its widget."""
    shape = {"shape": _OPTIONAL_SHAPE} if entry.optional else {}
    return {"name": entry.name, "type": entry.type, "link": None, **shape}


def _output(slot: int, output: Output) -> dict[str, Any]:
    shape = {"shape": _LIST_SHAPE} if output.listed else {}
    return {"name": output.name, "type": output.type, "slot_index": slot, **shape, "links": None}


def _kept(value: Literal, node: Node, name: str) -> Literal:
    """A widget's value; WorkflowError where the canvas cannot keep it."""
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise WorkflowError(
            f"{value} is larger than 2^53 - 1, the largest whole number that the canvas keeps exactly",
            field=f"{node.id}.{name}",
            remedy="Use style 'eri', whose numbers travel as text, or the API form.",
        )
    return value


def _models(node: Node) -> list[dict[str, str]]:
    """Download entries of the files that a loader, a node that nothing feeds, names."""
    found = [download(value) for value in node.inputs.values() if isinstance(value, str)]
    return [entry for entry in found if entry is not None]
