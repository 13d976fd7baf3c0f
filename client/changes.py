"""When a folder that is watched changes."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path


def sees_changes() -> bool:
    """Whether the package watchfiles is there; without it folders are only looked at from time to time."""
    return importlib.util.find_spec("watchfiles") is not None


async def changes(folder: Path, interval: float) -> AsyncIterator[None]:
    """Yield at once, then at every change below `folder` and after every `interval` seconds without one."""
    yield
    if not sees_changes():
        while True:
            await asyncio.sleep(interval)
            yield
    from watchfiles import awatch

    # Network drives send no events: the timeout is their rescan.
    watched = folder if folder.is_dir() else folder.parent
    async for _ in awatch(watched, rust_timeout=max(1, int(interval * 1000)), yield_on_timeout=True, step=200):
        yield
