"""The table of node schemas against the running host.

After a node gained an input, write it anew with

    ERI_UPDATE_SCHEMAS=1 make test ARGS="tests/workflows/test_node_table.py"
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from comfyui_eridiffusion.dev.host_install import HostInstall
from comfyui_eridiffusion.workflows.canvas import schemas
from comfyui_eridiffusion.workflows.canvas.stages import _BY_CLASS
from comfyui_eridiffusion.workflows.graph import OUTPUTS

#: Options of an input that matter on the canvas; the rest of `/object_info` (tooltips, file lists) is left out.
KEPT = (
    "default", "multiline", "dynamicPrompts", "control_after_generate", "forceInput", "image_upload", "label_on",
    "label_off",
)  # fmt: skip
LOADERS = ("EriExampleModelLoader", "EriExampleCLIPLoader", "EriExampleVAELoader")


@pytest.fixture(scope="module")
def info(comfy_host: Any) -> dict[str, Any]:
    """The host's own /object_info of the classes that graphs may hold."""
    from server import PromptServer

    routes = {str(route.path): route for route in PromptServer.instance.routes}
    assert "/object_info" in routes
    found = {}
    for name in sorted({*OUTPUTS, *_BY_CLASS, *LOADERS} & set(comfy_host.nodes)):
        node = comfy_host.nodes[name]
        if hasattr(node, "GET_NODE_INFO_V1"):
            found[name] = node.GET_NODE_INFO_V1()
            continue
        types = [str(kind) if not isinstance(kind, list) else kind for kind in node.RETURN_TYPES]
        found[name] = {
            "input": node.INPUT_TYPES(),
            "output": types,
            "output_name": list(getattr(node, "RETURN_NAMES", types)),
            "output_is_list": list(getattr(node, "OUTPUT_IS_LIST", [False] * len(types))),
        }
        import nodes

        found[name]["display_name"] = nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name)
    return found


def cut(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The table's content: `/object_info` without what the canvas does not need.

    File lists go, so that the table is the same on every host; an optional choice keeps its first entry as default.
    """
    return {class_type: _cut_node(entry) for class_type, entry in sorted(object_info.items())}


def _cut_node(entry: Mapping[str, Any]) -> dict[str, Any]:
    groups = entry.get("input") or {}
    inputs = {
        group: {name: _cut_input(spec, optional=group == "optional") for name, spec in groups[group].items()}
        for group in ("required", "optional")
        if groups.get(group)
    }
    kept: dict[str, Any] = {"display_name": entry.get("display_name") or None, "input": inputs}
    kept["output"], kept["output_name"] = [schemas._type(kind) for kind in entry["output"]], list(entry["output_name"])
    if any(entry.get("output_is_list") or ()):
        kept["output_is_list"] = list(entry["output_is_list"])
    return {key: value for key, value in kept.items() if value is not None}


def _cut_input(spec: Any, *, optional: bool) -> list[Any]:
    kind, options = spec[0], dict(spec[1]) if len(spec) > 1 and spec[1] else {}
    choices = kind if isinstance(kind, list) else options.get("options") or ()
    kept = {key: options[key] for key in KEPT if options.get(key) is not None and options[key] is not False}
    if schemas._type(kind) == "BOOLEAN":
        kept["default"] = bool(options.get("default"))
    if schemas._type(kind) == "COMBO":  # builders name every required choice; its default may be a file of the host
        kept.pop("default", None)
        if optional and choices:
            kept["default"] = options.get("default", choices[0])
    return [schemas._type(kind), kept] if kept else [schemas._type(kind)]


def test_the_table_is_the_hosts(comfyui: HostInstall, info: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(cut(info)))
    if os.environ.get("ERI_UPDATE_SCHEMAS"):
        lines = ",\n".join(f'"{name}": {json.dumps(entry)}' for name, entry in wanted.items())
        schemas.TABLE.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    table = json.loads(schemas.TABLE.read_text(encoding="utf-8"))
    if comfyui.origin != "pypi":  # another version may have other titles and more outputs: no graph breaks by that
        for name, entry in wanted.items():
            for key in ("output", "output_name"):
                entry[key] = entry[key][: len(table[name][key])]
            for one in (entry, table[name]):
                one.pop("display_name", None)
    assert {name: table.get(name) for name in wanted} == wanted
    assert set(OUTPUTS) <= set(table)


def test_every_class_of_a_builder_is_known(info: dict[str, Any]) -> None:
    for name, outputs in OUTPUTS.items():
        assert len(schemas.node_schema(name).outputs) == len(outputs), name
