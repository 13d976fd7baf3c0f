"""Stock nodes and the host's executor, called as each version of the host has them."""

from __future__ import annotations

import inspect
from typing import Any


def outputs(comfy_host: Any, name: str, **inputs: Any) -> tuple[Any, ...]:
    """All outputs of a node, whether the host writes it in the V3 style or in the older one."""
    cls = comfy_host.nodes[name]
    found = cls.execute(**inputs) if hasattr(cls, "execute") else getattr(cls(), cls.FUNCTION)(**inputs)
    return tuple(getattr(found, "args", found))


def new_executor() -> Any:
    """The host's executor, which knows nothing of earlier runs, as after a restart of the host."""
    import execution
    import server

    cache = {"cache_args": {"lru": 0, "ram": 16.0, "ram_inactive": 16.0}}
    takes = inspect.signature(execution.PromptExecutor).parameters
    return execution.PromptExecutor(server.PromptServer.instance, **(cache if "cache_args" in takes else {}))
