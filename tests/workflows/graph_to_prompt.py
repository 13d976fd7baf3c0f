"""From the canvas's JSON to the `/prompt` JSON, written after what the front end does when it queues a graph.

Source: the steps of the front end's `graphToPrompt` (executionUtil.ts of its 1.32 branch): widgets by their place in
`widgets_values`, links by the table of links, muted nodes left out, bypassed ones passed through by type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NEVER, BYPASS = 2, 4  # LGraphEventMode
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_ADDED = ("control_after_generate", "image_upload")  # options that put one more widget behind their own
_VIRTUAL = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")


def graph_to_prompt(ui: Mapping[str, Any], object_info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The prompt that is queued from `ui`; object_info: the host's own, which alone tells a node's widgets.

    What a subgraph holds has its numbers behind the subgraph's: "5:7".
    """
    ui = _flat(ui)
    nodes = {node["id"]: node for node in ui["nodes"]}
    links = {link[0]: link for link in ui["links"]}
    prompt: dict[str, dict[str, Any]] = {}
    for node in sorted(ui["nodes"], key=lambda node: node["order"]):
        if node["type"] in _VIRTUAL or node["mode"] in (NEVER, BYPASS):
            continue
        inputs = _widgets(node, object_info[node["type"]])
        for slot in node["inputs"]:
            found = None if slot["link"] is None else _source(slot["link"], nodes, links)
            if found is not None:
                inputs[slot["name"]] = found
        title = node.get("title") or object_info[node["type"]]["display_name"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    for entry in prompt.values():  # what comes from a muted node is not connected
        entry["inputs"] = {
            name: value
            for name, value in entry["inputs"].items()
            if not (isinstance(value, list) and value[0] not in prompt)
        }
    return prompt


def _flat(ui: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with what its subgraphs hold in their places."""
    definitions = {entry["id"]: entry for entry in ui.get("definitions", {}).get("subgraphs", ())}
    boxes = {node["id"]: definitions[node["type"]] for node in ui["nodes"] if node["type"] in definitions}
    nodes = [node for node in ui["nodes"] if node["id"] not in boxes]
    links = {tuple(link) for link in ui["links"]}
    for number, box in boxes.items():
        names = {node["id"]: f"{number}:{node['id']}" for node in box["nodes"]}
        nodes += [node | {"id": names[node["id"]]} for node in box["nodes"]]
        outer_in = {link[4]: link for link in links if link[3] == number}
        outer_out = [link for link in links if link[1] == number]
        links -= {*outer_in.values(), *outer_out}
        made = {}
        for link in box["links"]:
            source, slot = link["origin_id"], link["origin_slot"]
            if source == -10:
                _, source, slot, _, _, _ = outer_in[slot]
            else:
                source = names[source]
            if link["target_id"] == -20:
                made[link["target_slot"]] = (source, slot)
            else:
                links.add((link["id"], source, slot, names[link["target_id"]], link["target_slot"], link["type"]))
        links |= {(one, *made[slot], target, end, kind) for one, _, slot, target, end, kind in outer_out}
    order = sorted(nodes, key=lambda node: int(str(node["id"]).rpartition(":")[2]))
    return {**ui, "nodes": order, "links": [list(link) for link in links]}


def object_info(host_nodes: Mapping[str, Any]) -> dict[str, Any]:
    """What `/object_info` says of the running host's nodes, as far as inputs, outputs and names go."""
    import nodes

    shown = nodes.NODE_DISPLAY_NAME_MAPPINGS
    entries = {}
    for name, node in host_nodes.items():
        output = list(getattr(node, "RETURN_TYPES", ()))
        outputs = {"output": output, "output_name": list(getattr(node, "RETURN_NAMES", None) or output)}
        entries[name] = {"input": node.INPUT_TYPES(), "display_name": shown.get(name, name), **outputs}
    return entries


def _widgets(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name; the ones that only the front end needs are counted and dropped."""
    values = list(node["widgets_values"])
    inputs: dict[str, Any] = {}
    for group in ("required", "optional"):
        for name, spec in (info["input"].get(group) or {}).items():
            options = spec[1] if len(spec) > 1 else {}
            if not (isinstance(spec[0], list) or spec[0] in _WIDGETS) or options.get("forceInput"):
                continue
            value = values.pop(0)
            inputs[name] = _expanded(value) if options.get("dynamicPrompts") else value
            for option in _ADDED:
                if options.get(option):
                    values.pop(0)
    assert values == [], f"{node['type']}: more values than widgets"
    return inputs


def _expanded(text: str) -> str:
    """Comments go; a text with alternatives has no one value, so the graphs must not hold any."""
    text = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    assert re.search(r"(?<!\\)[{}]", text) is None, f"the front end would choose among alternatives: {text}"
    return text


def _source(number: int, nodes: Mapping[int, Any], links: Mapping[int, Any]) -> list[Any] | None:
    """The output at the other end; behind a bypassed node, what reaches its first input of the same type."""
    _, source, slot, _, _, _ = links[number]
    node = nodes[source]
    if node["mode"] != BYPASS:
        return [str(source), slot]
    kind = node["outputs"][slot]["type"]
    matching = [entry for entry in node["inputs"] if entry["type"] == kind]
    same = [node["inputs"][slot]] if slot < len(node["inputs"]) and node["inputs"][slot]["type"] == kind else []
    for entry in [*same, *matching]:
        return None if entry["link"] is None else _source(entry["link"], nodes, links)
    return None
