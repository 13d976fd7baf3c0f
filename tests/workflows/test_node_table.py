"""The table of node schemas against the running host.

After a node gained an input, write it anew with

    ERI_UPDATE_SCHEMAS=1 make test ARGS="tests/workflows/test_node_table.py"
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from comfyui_eridiffusion.dev.host_install import HostInstall
from comfyui_eridiffusion.workflows.canvas import schemas
from comfyui_eridiffusion.workflows.canvas.stages import _BY_CLASS
from comfyui_eridiffusion.workflows.graph import OUTPUTS

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


def test_the_table_is_the_hosts(comfyui: HostInstall, info: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(schemas.cut(info, info)))
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
