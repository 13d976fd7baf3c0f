"""What a host that cannot be reached means, as HostErrors that say what to do."""

from __future__ import annotations

import asyncio

import aiohttp

from ..errors import HostError


def unreachable(url: str, error: BaseException) -> HostError:
    """A failed request: "timeout" where ComfyUI is silent, "protocol" where it is no ComfyUI, else "down"."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return no_comfyui(url, f"its /ws answers {error.status}")
    if isinstance(error, asyncio.TimeoutError):
        return HostError(f"{url} did not answer in time", remedy="Is ComfyUI overloaded or hanging?", kind="timeout")
    return HostError(
        f"No ComfyUI answers at {url}",
        remedy="Start one (eri host start), or name another with --host URL.",
        kind="down",
        details=str(error),
    )


def no_comfyui(url: str, why: str) -> HostError:
    """A server that answers, but not as a ComfyUI does."""
    return HostError(
        f"{url} does not behave like a ComfyUI: {why}", remedy="Check the address and port.", kind="protocol"
    )


def stayed_away(url: str, patience: float, error: HostError) -> HostError:
    """A host that answered before and then did not for `patience` seconds; error: what the last request ended with."""
    went = "went away" if error.kind == "down" else "stopped answering"
    return HostError(
        f"ComfyUI at {url} {went} and did not come back within {patience:g} s",
        remedy="Read its log (memory may have run out), start it again, and repeat the command.",
        kind=error.kind,
        details=str(error),
    )


def forgotten() -> HostError:
    """A prompt that neither waits nor runs nor is in the history."""
    return HostError(
        "ComfyUI no longer knows the prompt",
        remedy="It was restarted, or the queue was cleared: queue the graph again.",
        kind="lost",
    )


def no_record() -> HostError:
    """The error where ComfyUI told that a prompt is done and then knows nothing of it."""
    return HostError(
        "ComfyUI finished the prompt, but its history has no record of it",
        remedy="Somebody cleared the history; the images are in ComfyUI's output folder.",
        kind="lost",
    )
