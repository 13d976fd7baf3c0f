"""Waiting for the sign of what a thread, a process or a host does.

How long that takes says how busy the machine is, and nothing else: no test fails before `PATIENCE` seconds are over.
"""

from __future__ import annotations

import asyncio
import time
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


async def until(sign: Callable[[], Any], what: str) -> None:
    """`wait_until` in an event loop; `sign` may be a coroutine function."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = sign()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"after {PATIENCE:.0f} s still not: {what}"
        await asyncio.sleep(_POLL)
