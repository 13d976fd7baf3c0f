"""A line below the node that is running."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


def running() -> tuple[Any, str] | None:
    """ComfyUI's graph (a DynamicPrompt) and the id of the node in it that is running; None outside of a graph."""
    from comfy_execution.progress import get_progress_state
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    if context is None:
        return None
    prompt = get_progress_state().dynprompt
    return (prompt, context.node_id) if prompt.has_node(context.node_id) else None


def show(text: str) -> None:
    """Show `text` below the node that is running, when ComfyUI can do so."""
    import server  # not at the top: ComfyUI makes it after it has loaded the pack

    found = running()
    instance = getattr(server.PromptServer, "instance", None)  # there is none in a script without a server
    send = getattr(instance, "send_progress_text", None)
    if found is not None and send is not None:
        prompt, node = found
        send(text, prompt.get_display_node_id(node))


def announce(node: str, text: str, level: int = logging.INFO) -> None:
    """Log `text` under the node's name, and `show` it."""
    log.log(level, "%s: %s", node, text)
    show(text)
