"""Graphs of what EriDiffusion V1's documents have for memory, batches and the noise of steps, run in a host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.workflows import build

MODELS = Path(__file__).parents[2] / "examples" / "models"


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("flux", {"eta": 0.5, "enable_cpu_offload": True, "enable_attention_slicing": True, "slice_size": 16}),
        ("sd35", {"sampler": "ddim", "schedule": "cosine", "eta": 0.5, "enable_sequential_cpu_offload": True}),
        ("sdxl", {"sampler": "euler", "s_churn": 1.0, "batch_size": 2}),
        ("sdxl", {"sampler": "dpm++", "batch_size": 2}),
    ],
)
def test_settings_of_the_documents_run(host_server: LocalHost, family: str, fields: dict[str, Any]) -> None:
    sample = {"prompts": ["a red circle", "a blue star"], "width": 64, "height": 64, "sample_steps": 2, **fields}
    spec = read_text(yaml.safe_dump({"name": "v1", "sample": sample}), trainer="eridiffusion", family=family)
    graph = build(spec, MODELS / f"{family}.yaml", step=0).api()

    async def run() -> Any:
        async with HostClient(host_server.url) as client:
            return await client.run(graph)

    assert len(asyncio.run(run()).images["save"]) == 2
