"""Workflows that 0.1.0 saved: every value is in its place, what inputs came since have their defaults, and they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.example_pictures import swap
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.workflows.graph_to_prompt import graph_to_prompt
from comfyui_eridiffusion.tests.workflows.test_examples_run import few_steps

SAVED = Path(__file__).with_name("data") / "version_0_1_0"
#: The graphs' prompts are of one picture each, but for the run's steps.
PICTURES = {"sdxl_ddim": ("sdxl", 1), "lora_step_comparison": ("flux", 1)}


def opened(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The node with defaults behind its own values, as the front end opens it."""
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    slots = {slot["name"] for slot in node["inputs"] if "widget" not in slot}
    ours = [slot["name"] for slot in node["inputs"] if "widget" in slot]
    widgets = [name for name, kind in inputs.items() if name not in slots and _is_widget(kind)]
    assert widgets[: len(ours)] == ours, "an input was put before those that there were"
    later = [inputs[name][1].get("default", _first(inputs[name])) for name in widgets[len(ours) :]]
    return node | {"widgets_values": [*node["widgets_values"], *later]}


def _is_widget(kind: list[Any]) -> bool:
    known = isinstance(kind[0], list) or kind[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
    return known and not (len(kind) > 1 and kind[1].get("forceInput"))


def _first(kind: list[Any]) -> Any:
    return (kind[0] if isinstance(kind[0], list) else kind[1].get("options", [None]))[0]


@pytest.mark.parametrize("name", PICTURES)
async def test_a_saved_workflow_opens_and_runs(host_server: LocalHost, name: str) -> None:
    ui = json.loads((SAVED / f"{name}.json").read_text(encoding="utf-8"))
    family, pictures = PICTURES[name]
    async with HostClient(host_server.url) as client:
        info = await client.object_info()
        nodes = [opened(node, info[node["type"]]) if node["type"] in info else node for node in ui["nodes"]]
        prompt = graph_to_prompt(ui | {"nodes": nodes}, info)
        for node in ui["nodes"]:
            values = iter([value for value in node.get("widgets_values") or () if value != "fixed"])
            for slot in node["inputs"]:  # a link stands for the value of its widget
                if "widget" in slot and (value := next(values)) is not None and slot["link"] is None:
                    assert prompt[str(node["id"])]["inputs"][slot["name"]] == value
        (save,) = (key for key, node in prompt.items() if node["class_type"] == "SaveImage")
        result = await client.run(few_steps(swap(prompt, family)))
    assert len(result.images[save]) == pictures
