"""What a host's refusals and failures mean, as HostErrors that name the node, the input and the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from ..errors import Caller, HostError, Remedy
from .events import Failed
from .schemas import choices_of

_MISSING_NODE: Final = re.compile(r"node '?(?P<name>[^'\s]+)'? (?:does not exist|not found)")
_MAX_CHOICES: Final = 12
#: What ComfyUI calls a reason that a node's own `validate_inputs` gave.
_OWN_CHECK: Final = "custom_validation_failed"
#: Inputs of ComfyUI's loaders that name a base model's file.
_MODEL_FILES: Final = ("ckpt_name", "unet_name", "vae_name", "clip_name1", "clip_name2", "clip_name3")
#: How torch (GPU, CPU) and ComfyUI word it.
_NO_MEMORY: Final = ("out of memory", "allocation on device", "allocate memory", "not enough memory")


def refused(body: Mapping[str, Any]) -> HostError:
    """The error in a `/prompt` answer: `error` (why nothing runs) and `node_errors` (what is wrong where).

    The first node error is the message, the others are in `details`, each once.
    Source: host's execution.py `validate_prompt`.
    """
    found: dict[tuple[str | None, ...], HostError] = {}
    for node, entry in _mapping(body.get("node_errors")).items():
        for reason in _mapping(entry).get("errors") or ():
            if isinstance(reason, Mapping):
                error = _node_error(str(node), entry, reason)
                # what a node's own check says comes once for every input that the check looks at
                field = None if reason.get("type") == _OWN_CHECK else error.field
                found.setdefault((error.node, field, error.problem), error)
    if found:
        first, *rest = found.values()
        first.details = "\n".join(str(error) for error in rest) or None
        return first
    refusal = body.get("error")
    if isinstance(refusal, str):
        return HostError(f"ComfyUI refused the graph: {refusal}", kind="validation")
    return _prompt_error(_mapping(refusal))


def _prompt_error(error: Mapping[str, Any]) -> HostError:
    message, details = str(error.get("message") or "no reason given"), str(error.get("details") or "")
    extra = _mapping(error.get("extra_info"))
    match = _MISSING_NODE.search(message)
    if match or error.get("type") == "missing_node_type":
        class_type = str(extra.get("class_type") or (match["name"] if match else "") or "?")
        node = str(extra.get("node_id") or details.rpartition("#")[2].strip(" '\"")) or None
        return missing_node(class_type, node)
    text = f"ComfyUI refused the graph: {message}"
    return HostError(f"{text} ({details})" if details and details not in message else text, kind="validation")


def missing_node(class_type: str, node: str | None = None) -> HostError:
    """Return the error for a node class that ComfyUI does not have; those of this pack have a help page here."""
    if class_type in _own_nodes():
        remedy = "Put this pack into ComfyUI's custom_nodes folder, restart ComfyUI, and read its log."
    else:
        remedy = "Update ComfyUI, or install the node pack that brings it."
    return HostError(
        f"ComfyUI does not know the node {class_type}", remedy=remedy, kind="missing_node", node=node,
        class_type=class_type,
    )  # fmt: skip


@cache
def _own_nodes() -> frozenset[str]:
    return frozenset(page.stem for page in (Path(__file__).parents[1] / "web" / "docs").glob("Eri*.md"))


def _node_error(node: str, entry: Mapping[str, Any], reason: Mapping[str, Any]) -> HostError:
    extra = _mapping(reason.get("extra_info"))
    field = extra.get("input_name")
    kind, details = str(reason.get("type") or ""), str(reason.get("details") or "")
    problem, remedy = str(reason.get("message") or kind), cast(Remedy, None)
    if kind == "value_not_in_list":
        problem = f"ComfyUI does not offer {extra.get('received_value')!r}"
        remedy = offered = _offered(extra.get("input_config"), str(field))
        if field in _MODEL_FILES:
            words: dict[Caller, str] = {"python": "with models=", "cli": "with --models FILE", "http": "in models"}
            remedy = {caller: f"{offered} Other model files are named {how}." for caller, how in words.items()}
    elif kind == _OWN_CHECK and details.startswith(f"{field} - "):  # then comes what the node says
        problem = details.removeprefix(f"{field} - ")
    elif kind == "required_input_missing":
        problem, remedy = "A required input is missing", "ComfyUI's node may be another version than this client's."
    elif details and details != str(field):
        problem = f"{problem}: {details}"
    return HostError(
        problem,
        remedy=remedy,
        kind="validation",
        node=node,
        class_type=str(entry.get("class_type") or "") or None,
        field=None if field is None else str(field),
    )


def _offered(config: object, field: str) -> str:
    """What can be chosen instead; ComfyUI sends the list only while it is short."""
    choices = choices_of(config)
    if choices is None:
        return f"Look up what it offers for {field}, or put the file where ComfyUI looks for it."
    if not choices:
        return f"It offers nothing for {field}: put the file where ComfyUI looks for it."
    listed = ", ".join(choices[:_MAX_CHOICES])
    return f"It offers: {listed}" + (", …" if len(choices) > _MAX_CHOICES else ".")


def failed(event: Failed) -> HostError:
    """The error a node raised while it ran; running out of memory gets its own kind and remedy."""
    message = event.message.split("\n\nTIPS:")[0].strip()
    name = event.exception_type.rpartition(".")[2]
    if name in ("OutOfMemoryError", "MemoryError") or any(words in message.lower() for words in _NO_MEMORY):
        return HostError(
            f"ComfyUI ran out of memory: {_first_line(message) or name}",
            remedy="Sample smaller images, free memory that other programs hold, or start ComfyUI with --lowvram.",
            kind="out_of_memory",
            node=event.node,
            class_type=event.class_type,
            details=event.traceback,
        )
    return HostError(
        message.split("\nThis error means")[0].strip() or name or "The node failed without a message",
        kind="execution",
        node=event.node,
        class_type=event.class_type,
        details=f"{event.traceback}{event.exception_type}: {message}",
    )


def _first_line(text: str) -> str:
    return text.splitlines()[0].strip() if text.strip() else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
