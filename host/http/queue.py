"""Puts graphs into ComfyUI's queue as its own POST /prompt does, and says what became of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import execution
import folder_paths
import nodes
from server import PromptServer

from ...protocol.refusals import refused
from ...workflows import Workflow
from .prompt_result import EXTRA_KEY, result_of

_FOLDERS: Final = ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras")


def offered_files() -> dict[str, list[str]]:
    """ComfyUI's model files by folder."""
    return {folder: list(folder_paths.get_filename_list(folder)) for folder in _FOLDERS}


def node_info(workflow: Workflow) -> dict[str, Any]:
    """ComfyUI's description of the graph's nodes, in the form of its /object_info; unknown classes are left out."""
    classes = {node.class_type for node in workflow.graph.nodes.values()}
    return {name: _described(name) for name in sorted(classes) if name in nodes.NODE_CLASS_MAPPINGS}


def _described(name: str) -> dict[str, Any]:
    """The part of server.py's `node_info` (which is no function of its own) that the canvas needs."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    if hasattr(node, "GET_NODE_INFO_V1"):
        info: dict[str, Any] = node.GET_NODE_INFO_V1()
        return info
    return {
        "input": node.INPUT_TYPES(),
        "output": node.RETURN_TYPES,
        "output_is_list": getattr(node, "OUTPUT_IS_LIST", [False] * len(node.RETURN_TYPES)),
        "output_name": getattr(node, "RETURN_NAMES", node.RETURN_TYPES),
        "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "python_module": getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"),
    }


async def queue(workflow: Workflow, ui: Mapping[str, Any], *, client_id: str | None, front: bool) -> tuple[str, float]:
    """Queue a graph and return its prompt id and its place in the queue.

    Args:
        workflow: the graph.
        ui: its form for the canvas, which is saved in the pictures.
        client_id: the WebSocket client that gets the progress.
        front: puts it before the prompts that wait.

    Raises HostError naming node and input when ComfyUI objects to any part of the graph; it would run the rest.
    Source: server.py `post_prompt`.
    """
    server = PromptServer.instance
    document: dict[str, Any] = {
        "prompt": workflow.api(),
        "prompt_id": str(uuid.uuid4()),
        "extra_data": {
            "extra_pnginfo": {"workflow": ui},
            EXTRA_KEY: {"saves": {node: list(items) for node, items in workflow.saves.items()}},
        },
    }
    document = server.trigger_on_prompt(document)  # other packs may change it, as they do for every prompt
    prompt_id, prompt, extra = document["prompt_id"], document["prompt"], document["extra_data"]
    valid, error, outputs, node_errors = await execution.validate_prompt(prompt_id, prompt, None)
    if not valid or node_errors:
        raise refused({"error": error, "node_errors": node_errors})
    # Without any client ComfyUI leaves what it took from its cache out of the history: no files for a repeated call.
    extra["client_id"] = client_id or f"eridiffusion-{prompt_id}"
    extra["create_time"] = int(time.time() * 1000)
    number = -server.number if front else server.number
    server.number += 1
    server.prompt_queue.put((number, prompt_id, prompt, extra, outputs, {}))
    return prompt_id, number


def state(prompt_id: str) -> dict[str, Any] | None:
    """The state of a prompt: `status` "queued" or "running", or its result; None when ComfyUI does not know it."""
    prompts = PromptServer.instance.prompt_queue
    for _ in range(2):  # it may end between the two questions
        record = prompts.get_history(prompt_id=prompt_id, map_function=lambda entry: entry).get(prompt_id)
        if record is not None:
            return result_of(prompt_id, record)
        running, waiting = prompts.get_current_queue_volatile()
        for status, entries in (("running", running), ("queued", waiting)):
            if _holds(entries, prompt_id):
                return {"prompt_id": prompt_id, "status": status, "files": []}
    return None


def _holds(entries: Sequence[Sequence[Any]], prompt_id: str) -> bool:
    return any(entry[1] == prompt_id for entry in entries)
