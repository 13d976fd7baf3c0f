"""What a canvas must know of a node: its sockets, its widgets in order, its outputs.

Read from the host's `/object_info`, or from `data/nodes.json`, a cut of it for the nodes that the builders use; a test
holds the cut against the running host and can write it anew (`tests/workflows/test_node_table.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from ...errors import WorkflowError

#: The pack of the host's own nodes.
CORE: Final = "comfy-core"

TABLE: Final = Path(__file__).with_name("data") / "nodes.json"

#: Input types that the front end draws as a widget; everything else is a socket.
_WIDGETS: Final = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@dataclass(frozen=True)
class Input:
    """One input. widget: drawn as a widget, which may also be linked. control: a control_after_generate widget follows.

    upload: an upload button follows. words: what a switch calls its two states.
    """

    name: str
    type: str
    widget: bool
    optional: bool = False
    default: Any = None
    multiline: bool = False
    control: bool = False
    upload: bool = False
    words: tuple[str, str] = ("", "")

    @property
    def blank(self) -> Any:
        """What its widget holds where a graph gives no value."""
        zeros = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}
        return zeros.get(self.type, "") if self.default is None else self.default


@dataclass(frozen=True)
class Output:
    """One output; listed: it carries a list whose entries run one after the other."""

    name: str
    type: str
    listed: bool = False


@dataclass(frozen=True)
class NodeSchema:
    """A node class: inputs in the host's order (the order of `widgets_values`), outputs, the name of its pack."""

    class_type: str
    display_name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    pack: str = CORE

    @cached_property
    def sockets(self) -> tuple[Input, ...]:
        """Inputs without a widget, in the order the front end shows them."""
        return tuple(entry for entry in self.inputs if not entry.widget)

    @cached_property
    def widgets(self) -> tuple[Input, ...]:
        """Inputs with a widget, in the order of `widgets_values`."""
        return tuple(entry for entry in self.inputs if entry.widget)

    @cached_property
    def slots(self) -> tuple[Input, ...]:
        """Sockets, then widgets: the order in which the front end counts input slots."""
        return (*self.sockets, *self.widgets)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all inputs."""
        return frozenset(entry.name for entry in self.inputs)

    @cached_property
    def socket_letters(self) -> int:
        """Letters that a row of the longest input's and the longest output's name takes."""
        longest = max((len(entry.name) for entry in self.sockets), default=0)
        return longest + max((len(entry.name) for entry in self.outputs), default=0)


def node_schema(class_type: str, object_info: Mapping[str, Any] | None = None) -> NodeSchema:
    """The schema of a node class, from the host's `/object_info` where it is given, else from the table.

    Raises WorkflowError where neither knows the class.
    """
    if object_info is not None and class_type in object_info:
        return parse(class_type, object_info[class_type])
    found = _table().get(class_type)
    if found is None:
        raise WorkflowError(
            f"nothing is known about the node {class_type!r}",
            field="object_info",
            remedy={
                "python": "Pass ComfyUI's /object_info, or write the API form.",
                "cli": "Name a host that has it with --host, or write the API form.",
            },
        )
    return found


@cache
def _table() -> Mapping[str, NodeSchema]:
    document = json.loads(TABLE.read_text(encoding="utf-8"))
    return {class_type: parse(class_type, entry) for class_type, entry in document.items()}


def parse(class_type: str, entry: Mapping[str, Any]) -> NodeSchema:
    """Read one entry of `/object_info` (or of the table, which has its form)."""
    groups = entry.get("input") or {}
    inputs = [
        _input(name, spec, optional=group == "optional")
        for group in ("required", "optional")
        for name, spec in (groups.get(group) or {}).items()
    ]
    types, names = entry.get("output") or (), entry.get("output_name") or ()
    lists = entry.get("output_is_list") or [False] * len(types)
    outputs = [
        Output(str(name), _type(kind), bool(listed)) for name, kind, listed in zip(names, types, lists, strict=True)
    ]
    module = str(entry.get("python_module") or "")
    pack = "comfyui-eridiffusion" if class_type.startswith("Eri") else CORE
    if module.startswith("custom_nodes.") and not class_type.startswith("Eri"):
        pack = module.removeprefix("custom_nodes.")
    return NodeSchema(class_type, str(entry.get("display_name") or class_type), tuple(inputs), tuple(outputs), pack)


def _type(kind: Any) -> str:
    return "COMBO" if isinstance(kind, list) else str(kind)


def _input(name: str, spec: Any, *, optional: bool) -> Input:
    kind, options = spec[0], dict(spec[1]) if len(spec) > 1 and spec[1] else {}
    choices = kind if isinstance(kind, list) else options.get("options") or ()
    default = options.get("default", choices[0] if choices else None)
    return Input(
        name=name,
        type=_type(kind),
        widget=_type(kind) in _WIDGETS and not options.get("forceInput"),
        optional=optional,
        default=default,
        multiline=bool(options.get("multiline")),
        control=bool(options.get("control_after_generate")),
        upload=bool(options.get("image_upload")),
        words=(str(options.get("label_on") or ""), str(options.get("label_off") or "")),
    )
