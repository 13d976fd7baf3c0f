"""Stock nodes and the host's executor, called as each version of the host has them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
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


def run(prompt: dict[str, Any], executor: Any = None, extra: dict[str, Any] | None = None) -> Any:
    """The executor after this API graph, which may have failed in a node; None = a new one.

    AssertionError with the host's own words for a graph that it refuses. extra: what else came with the prompt.
    """
    import execution

    valid, error, wanted, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid, (error, node_errors)
    assert not node_errors
    executor = executor or new_executor()
    executor.execute(prompt, "test", extra or {}, wanted)
    return executor


def failure(executor: Any) -> dict[str, Any]:
    """What the host said of the node that failed."""
    found: dict[str, Any] = next(data for event, data in executor.status_messages if event == "execution_error")
    return found


def succeed(prompt: dict[str, Any], executor: Any = None, extra: dict[str, Any] | None = None) -> Any:
    """`run`, with an AssertionError for a node's failure, too."""
    executor = run(prompt, executor, extra)
    failures = [data["exception_message"] for event, data in executor.status_messages if event == "execution_error"]
    assert executor.success, failures
    return executor


def cached_outputs(executor: Any, node_id: str) -> list[list[Any]]:
    """What a node gave in the executor's last run: its outputs, each a list."""
    found = executor.caches.outputs.get(node_id)
    if inspect.isawaitable(found):  # newer hosts wait for caches of other machines

        async def wait() -> Any:
            return await found

        found = asyncio.run(wait())
    outputs: list[list[Any]] = getattr(found, "outputs", found)  # older hosts keep nothing else
    return outputs


def with_hidden(cls: Any, hidden: dict[Any, Any]) -> Any:
    """The class of a V3 node with its hidden inputs, as the executor prepares it."""
    takes = inspect.signature(cls.PREPARE_CLASS_CLONE).parameters
    return cls.PREPARE_CLASS_CLONE({"hidden_inputs": hidden} if "v3_data" in takes else hidden)


def turn_previews_on(monkeypatch: Any, on_step: Callable[[int], None] | None = None) -> list[tuple[int, int]]:
    """Previews as the host makes them without another model; the list that fills with (step, steps) of each.

    With previews the host reports every step; without them newer hosts report several times a second at most.
    """
    import comfy.utils
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod

    seen: list[tuple[int, int]] = []

    def hook(value: int, total: int, preview: Any, **_: Any) -> None:
        assert preview is not None
        seen.append((value, total))
        if on_step:
            on_step(value)

    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Latent2RGB)
    if hasattr(latent_preview, "default_preview_method"):  # newer hosts choose anew for every prompt
        monkeypatch.setattr(latent_preview, "default_preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    return seen
