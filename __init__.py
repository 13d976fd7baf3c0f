"""ComfyUI pack that turns a LoRA training run into ordinary graphs reproducing and comparing its samples.

Importing this package does nothing: torch, the host and the nodes are imported only when the host asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Return the extension that lists the pack's nodes; called once by the host while it loads custom nodes.

    Raises ImportError naming the needed version on a host that is too old; the host logs it and goes on without us.
    """
    from .garbage import all_stays
    from .host_version import require_host

    require_host()
    with all_stays():
        from .extension import comfy_entrypoint as entrypoint

    return await entrypoint()


def __getattr__(name: str) -> Any:
    # A host asks for this table first; one from before `comfy_entrypoint` asks for nothing else, so here is the only
    # place to tell its user what is wrong.
    if name == "NODE_CLASS_MAPPINGS":
        from .host_version import require_host

        require_host()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
