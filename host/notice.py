"""A line below the node that is running."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def show(text: str) -> None:
    """Show `text` below the node that is running, when ComfyUI can do so."""
    import server  # not at the top: ComfyUI makes it after it has loaded the pack
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    instance = getattr(server.PromptServer, "instance", None)  # there is none in a script without a server
    send = getattr(instance, "send_progress_text", None)
    if context is not None and send is not None:
        send(text, context.node_id)


def announce(node: str, text: str, level: int = logging.INFO) -> None:
    """Log `text` under the node's name, and `show` it."""
    log.log(level, "%s: %s", node, text)
    show(text)
