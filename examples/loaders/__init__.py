"""Loader nodes for the small example models: the host's own loaders expect the full-size architectures.

A separate little node pack, used by the demo and the tests only. Put `examples/models` on the host's model paths and
this folder among its custom nodes.
"""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    """The host's entry point: builds the extension when the host asks for it."""
    from .nodes import ExampleLoaders

    return ExampleLoaders()
