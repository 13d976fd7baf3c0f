"""ComfyUI's history of a finished prompt in the form that a trainer wants: how it ended, and which files it wrote."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from ...errors import HostError
from ...protocol.events import Failed, ImageRef, Interrupted, ending_in, images_of, prompt_files_of
from ...protocol.refusals import failed

#: Entry of a prompt's extra data that says which items each saving node saves.
EXTRA_KEY: Final = "eridiffusion"


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
    entry = {
        "kind": error.kind,
        "message": str(error),
        "node": error.node,
        "class_type": error.class_type,
        "field": error.field,
        "details": error.details if error.kind in ("validation", "missing_node") else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _files(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every node's files, each picture followed by the prompt file beside it."""
    saves = (record["prompt"][3].get(EXTRA_KEY) or {}).get("saves", {})
    outputs = (record.get("outputs") or {}).items()
    files = []
    # in the samples' order: ComfyUI's is that of execution, which is another one in newer versions
    for node, output in sorted(outputs, key=lambda entry: min(saves.get(entry[0]) or [sys.maxsize])):
        items = saves.get(node, ())
        texts = prompt_files_of(output)
        for number, image in enumerate(images_of(output)):
            item = {"item": items[number]} if number < len(items) else {}
            files.append(_file("image", image, node, item))
            if image in texts:
                files.append(_file("prompt", texts[image], node, item))
    return files


def _file(kind: str, ref: ImageRef, node: str, item: Mapping[str, Any]) -> dict[str, Any]:
    query = {"filename": ref.filename, "subfolder": ref.subfolder, "type": ref.type}
    return {"kind": kind, **query, "node": node, **item, "url": f"/view?{urlencode(query)}"}
