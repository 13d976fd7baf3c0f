"""Many prompts on one ComfyUI: whether its memory stays, its weights stay what they were, and it stays as quick.

    python benchmarks/soak.py [--prompts 500] [--json]

The examples' three families take turns of five prompts, each with three checkpoints of its run, beside the weights and
merged into them. Of ten prompts one fails (its LoRA is another family's) and one is interrupted while it samples. After
each turn ComfyUI's own ModelSave writes the base model that is in its memory, which must be the same in every bit.
ComfyUI's history, which keeps the graphs of 10,000 prompts, is emptied then.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev.host_install import ROOT
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.protocol.events import StepProgress
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.workflows import build

EXAMPLES: Final = ROOT / "examples"
FAMILIES: Final = ("flux", "sd35", "sdxl")
RUNS: Final = {"flux": "flux_zorp", "sd35": "sd35_quix", "sdxl": "sdxl_blaff"}
CHECKPOINTS: Final = (50, 400, 1000)
TURN: Final = 5
FAILS, STOPPED = 3, 7
MANY_STEPS: Final = 400
MIB: Final = 1 << 20


@dataclass
class Soak:
    """What was seen.

    Args:
        memory: the process's resident MiB after each prompt.
        seconds: what each prompt took that was neither to fail nor interrupted.
        failed, stopped: how many were.
        weights: the digests of each family's base model, which should be one.
    """

    memory: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    stopped: int = 0
    weights: dict[str, list[str]] = field(default_factory=dict)

    def summary(self, settled: int = 50) -> dict[str, Any]:
        """The figures: memory and seconds after the first `settled` prompts, their first and last fifth."""
        found: dict[str, Any] = {"prompts": len(self.memory), "failed": self.failed, "stopped": self.stopped}
        found["weights equal"] = all(len(set(digests)) == 1 for digests in self.weights.values())
        found["weights read"] = sum(map(len, self.weights.values()))
        part = len(self.seconds) / max(len(self.memory), 1)
        for name, values, start in (
            ("memory", self.memory, settled),
            ("seconds", self.seconds, round(settled * part)),
        ):
            late = values[start:] or values
            fifth = max(1, len(late) // 5)
            first, last = statistics.median(late[:fifth]), statistics.median(late[-fifth:])
            found[name] = {"first": first, "last": last, "most": max(late), "ratio": last / first}
        return found


def prompt(number: int, family: str, steps: int = 4) -> dict[str, Any]:
    """The graph of the prompt with this number."""
    spec = read_spec(EXAMPLES / "configs" / f"{family}.yaml").select("0")
    spec = replace(spec, items=[replace(spec.items[0], steps=steps, seed=number)])
    step = CHECKPOINTS[number % len(CHECKPOINTS)]
    graph = build(spec, models=EXAMPLES / "models" / f"{family}.yaml", run=RUNS[family], step=step).api()
    if number // len(CHECKPOINTS) % 2:
        graph["lora"]["inputs"]["apply"] = "into the weights"
    return graph


async def soak(client: HostClient, pid: int, output: Path, prompts: int, families: Sequence[str] = FAMILIES) -> Soak:
    """Run them on the ComfyUI of that process, whose output folder is `output`."""
    seen = Soak()
    for number in range(prompts):
        kind, family = number % 10, families[number // TURN % len(families)]
        graph = prompt(number, family, MANY_STEPS if kind == STOPPED else 4)
        began = time.perf_counter()
        if kind == FAILS:
            graph["lora"]["inputs"]["run"] = next(run for other, run in RUNS.items() if other != family)
            seen.failed += await _ends(client, graph, "execution")
        elif kind == STOPPED:
            seen.stopped += await _ends(client, graph, "interrupted", stop=True)
        else:
            await client.run(graph)
            seen.seconds.append(time.perf_counter() - began)
        if number % TURN == TURN - 1:
            seen.weights.setdefault(family, []).append(await weights(client, graph["model"], output))
            await client._request("POST", "/history", json_body={"clear": True})
        seen.memory.append(resident(pid))
    return seen


async def _ends(client: HostClient, graph: dict[str, Any], kind: str, stop: bool = False) -> bool:
    """Whether a prompt ends with this kind of error; `stop`: interrupted as soon as it samples."""
    prompt_id = await client.queue_prompt(graph)
    stopped = False
    try:
        async for event in client.events(prompt_id):
            if stop and not stopped and isinstance(event, StepProgress):
                stopped = True
                await client.interrupt(prompt_id)
        await client.wait(prompt_id)
    except HostError as error:
        return error.kind == kind
    return False


async def weights(client: HostClient, loader: dict[str, Any], output: Path) -> str:
    """The digest of the base model as ComfyUI has it in memory now."""
    save = {"class_type": "ModelSave", "inputs": {"model": ["model", 0], "filename_prefix": "soak/weights"}}
    await client.run({"model": loader, "keep": save})
    (path,) = (output / "soak").glob("weights_*.safetensors")
    from safetensors.torch import load

    tensors = load(path.read_bytes())
    path.unlink()
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def resident(pid: int) -> float:
    """MiB of memory that a process has now (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


async def _on(host: LocalHost, prompts: int) -> Soak:
    async with HostClient(host.url) as client:
        return await soak(client, host.pid, host.output_dir, prompts)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="all numbers, as JSON")
    options = parser.parse_args()
    with LocalHost() as host:
        seen = asyncio.run(_on(host, options.prompts))
    figures = seen.summary()
    if options.json:
        sys.stdout.write(json.dumps({"summary": figures, **asdict(seen)}) + "\n")
        return
    for name, value in figures.items():
        shown = ", ".join(f"{key} {number:.3g}" for key, number in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f"{name}: {shown}\n")


if __name__ == "__main__":
    main()
