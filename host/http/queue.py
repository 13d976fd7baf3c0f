"""Puts graphs into ComfyUI's queue as its own POST /prompt does, and says what became of them."""

from __future__ import annotations

import itertools
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import execution
import folder_paths
import nodes
from server import PromptServer

from ...errors import HostError
from ...protocol.events import (
    PICTURES,
    Failed,
    ImageRef,
    Interrupted,
    ending_in,
    images_of,
    outputs_in,
    prompt_files_of,
)
from ...protocol.refusals import failed, refused
from ...workflows import Workflow
from ..paths import without_folders

#: Entry of a prompt's extra data that says which items each saving node saves.
EXTRA_KEY: Final = "eridiffusion"
#: ComfyUI's folders from which a graph loads.
MODEL_FOLDERS: Final = ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras")


def offered_files() -> dict[str, list[str]]:
    """ComfyUI's model files by folder."""
    return {folder: list(folder_paths.get_filename_list(folder)) for folder in MODEL_FOLDERS}


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
            if any(entry[1] == prompt_id for entry in entries):
                return {"prompt_id": prompt_id, "status": status, "files": []}
    return None


def result_of(prompt_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of GET /eridiffusion/prompts/{prompt_id} for a history entry: `status`, `files`, perhaps `error`."""
    answer: dict[str, Any] = {"prompt_id": prompt_id, "status": "done", "files": _files(record)}
    last = ending_in(prompt_id, record)[-1]
    if isinstance(last, Interrupted):
        return {**answer, "status": "interrupted"}
    if isinstance(last, Failed):
        return {**answer, "status": "failed", "error": described(failed(last))}
    return answer


def described(error: HostError) -> dict[str, Any]:
    """An error for the answer, without empty entries. Tracebacks stay in ComfyUI's log and history.

    `details` holds the further faults of a graph that ComfyUI refuses, one a line.
    """
    shown = error.kind in ("validation", "missing_node")
    entry = {
        "kind": error.kind,
        "message": without_folders(str(error.told_to("http"))),
        "node": error.node,
        "class_type": error.class_type,
        "field": error.field,
        "details": without_folders(error.details or "") or None if shown else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _files(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every node's files, each picture followed by the prompt file beside it."""
    saves = (record["prompt"][3].get(EXTRA_KEY) or {}).get("saves", {})
    outputs = outputs_in(record).items()
    files = []
    # in the samples' order: ComfyUI's is that of execution, which is another one in newer versions
    for node, output in sorted(outputs, key=lambda entry: min(saves.get(entry[0]) or [sys.maxsize])):
        items = saves.get(node, ())
        texts = prompt_files_of(output)
        for number, image in zip(output.get(PICTURES) or itertools.count(), images_of(output), strict=False):
            item = {"item": items[number]} if number < len(items) else {}
            files.append(_file("image", image, node, item))
            if image in texts:
                files.append(_file("prompt", texts[image], node, item))
    return files


def _file(kind: str, ref: ImageRef, node: str, item: Mapping[str, Any]) -> dict[str, Any]:
    query = {"filename": ref.filename, "subfolder": ref.subfolder, "type": ref.type}
    return {"kind": kind, **query, "node": node, **item, "url": f"/view?{urlencode(query)}"}
