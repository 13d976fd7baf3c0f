"""ComfyUI pack that turns a LoRA training run into ordinary graphs reproducing and comparing its samples.

Importing this package does nothing: torch, the host and the nodes are imported only when the host asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Return the extension that lists the pack's nodes; called once by the host while it loads custom nodes."""
    from .nodes import comfy_entrypoint as entrypoint

    return await entrypoint()
