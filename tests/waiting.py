"""Waiting for the sign of what a thread, a process or a host does, and the sign that hosts give: their queue.

How long that takes says how busy the machine is, and nothing else: no test fails before `PATIENCE` seconds are over.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any, Final

PATIENCE: Final = 180.0
_POLL: Final = 0.02


def wait_until(sign: Callable[[], Any], what: str) -> None:
    """Return once `sign()` is true; AssertionError naming `what` was awaited after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not sign():
        assert time.monotonic() < deadline, f"after {PATIENCE:.0f} s still not: {what}"
        time.sleep(_POLL)


def queue(url: str) -> tuple[list[Any], list[Any]]:
    """What the host runs, and what waits there."""
    with urllib.request.urlopen(f"{url}/queue", timeout=PATIENCE) as answer:
        document = json.load(answer)
    return document["queue_running"], document["queue_pending"]


def wait_until_idle(url: str) -> None:
    """Return once the host has nothing to do."""
    wait_until(lambda: queue(url) == ([], []), "the host is idle")


async def until(sign: Callable[[], Any], what: str) -> None:
    """`wait_until` in an event loop; `sign` may be a coroutine function."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = sign()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"after {PATIENCE:.0f} s still not: {what}"
        await asyncio.sleep(_POLL)
