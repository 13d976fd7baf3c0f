"""What the tests of clients share."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.tests.client.watched import Place


@pytest.fixture
def place(host_server: Any, loras_dir: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    run = loras_dir / re.sub(r"\W+", "_", request.node.name)
    run.mkdir()
    yield Place(host_server.url, run)
    shutil.rmtree(run)
