"""Fixtures for tests of the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest


@pytest.fixture
async def web(host_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host_server.url) as session:
        yield session
