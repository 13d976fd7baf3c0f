"""The short form of benchmarks/soak.py, which has the long one and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.benchmarks.soak import soak
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.local_host import LocalHost


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_the_base_model_is_the_same_after_loras_errors_and_interrupts(host_server: LocalHost) -> None:
    async with HostClient(host_server.url) as client:
        seen = await soak(client, host_server.pid, host_server.output_dir, prompts=10, families=("flux",))
    assert (seen.failed, seen.stopped, len(seen.seconds)) == (1, 1, 8)
    first, second = seen.weights["flux"]
    assert first == second
