"""Fixtures for tests of the routes."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfyui_eridiffusion.dev.local_host import LocalHost

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def web(host_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host_server.url) as session:
        yield session


@pytest.fixture(scope="module")
def runs_host(host_server: LocalHost, loras_dir: Path) -> Iterator[tuple[LocalHost, Path]]:
    """A host with one run of fifty steps and its config of a hundred prompts beside it."""
    run = loras_dir / "many"
    run.mkdir()
    weights = next((EXAMPLES / "runs" / "flux_zorp").rglob("*.safetensors"))
    for step in range(100, 5100, 100):
        shutil.copy(weights, run / f"many_{step:09d}.safetensors")
    prompts = "".join(f"        - 'prompt <b>{i}</b>'\n" for i in range(100))
    config = (EXAMPLES / "configs" / "flux.yaml").read_text(encoding="utf-8").replace("flux_zorp", "many")
    head, rest = config.split("prompts:\n", 1)
    kept = [line for line in rest.splitlines(keepends=True) if not line.lstrip().startswith("- ")]
    indent = len(rest) - len(rest.lstrip(" "))
    lines = prompts.replace(" " * 8 + "-", " " * indent + "-")
    (run / "train.yaml").write_text(head + "prompts:\n" + lines + "".join(kept), encoding="utf-8")
    (run / "broken.yaml").write_text("a: [1\n", encoding="utf-8")
    yield host_server, run
    shutil.rmtree(run)
    shutil.rmtree(host_server.output_dir / "many", ignore_errors=True)
