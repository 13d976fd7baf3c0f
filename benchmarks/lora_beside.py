"""What a LoRA beside the weights costs: LoRA at Step's two ways of applying one, beside each other.

    .venv/bin/python benchmarks/lora_beside.py [--width 128] [--tokens 256] [--checkpoints 6] [--json]

Prints, for Flux and SDXL at their full depth but narrow (as benchmarks/lora_models.py makes them) and for a stack of
eight linear layers of width 1024, all in bfloat16 with a LoRA of rank 16 on every layer: the time of one step of
sampling with the LoRA beside the weights over that with it merged, the time of changing to another checkpoint (the node
and ComfyUI's preparation of the model, less that of a model that is already there) likewise, and the memory that the
LoRA takes while the model is loaded. The sides take turns; of several rounds the smallest time counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]
ROUNDS = 5
WAYS = {"beside": "beside the weights", "merged": "into the weights"}


def make_stack(width: int) -> Any:
    """MODEL of Flux's class whose diffusion model is eight linear layers under the names of Flux's blocks."""
    import comfy.ops
    import torch

    from comfyui_eridiffusion.benchmarks.lora_models import make_model, narrow

    patcher = make_model("flux", narrow("flux"))
    blocks = torch.nn.ModuleList()
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        layer = comfy.ops.manual_cast.Linear(width, width, dtype=torch.bfloat16)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / width**0.5)
        blocks.append(torch.nn.ModuleDict({"linear2": layer.requires_grad_(False)}))
    for name in [name for name, _ in patcher.model.diffusion_model.named_children()]:
        delattr(patcher.model.diffusion_model, name)
    patcher.model.diffusion_model.single_blocks = blocks
    patcher.size = 0
    return patcher


def one_step(family: str, width: int, tokens: int) -> Callable[[Any], None]:
    """A forward of the diffusion model, as a step makes it, for a loaded MODEL."""
    import torch

    side = int(tokens**0.5)

    def run(model: Any) -> None:
        network = model.model.diffusion_model
        device = model.load_device
        if family == "stack":
            x = torch.ones(1, tokens, width, dtype=torch.bfloat16, device=device)
            for block in network.single_blocks:
                x = block["linear2"](x)
            return
        half = {"dtype": torch.bfloat16, "device": device}
        time = torch.full((1,), 500.0, device=device)
        if family == "flux":
            latent, pooled = torch.ones(1, 16, 2 * side, 2 * side, **half), torch.ones(1, 64, **half)
            network(latent, time / 1000, torch.ones(1, 77, 64, **half), pooled, guidance=time / 100)
        else:
            latent, pooled = torch.ones(1, 4, side, side, **half), torch.ones(1, 64 + 6 * 256, **half)
            network(latent, time, context=torch.ones(1, 77, 64, **half), y=pooled)

    def inference(model: Any) -> None:
        with torch.inference_mode():
            run(model)

    return inference


def measure(nodes: dict[str, Any], loras: Path, family: str, width: int, tokens: int, checkpoints: int) -> Any:
    """Every figure of one model, in plain types."""
    from comfyui_eridiffusion.benchmarks.lora_models import (
        clock,
        make_model,
        narrow,
        prepare,
        tensor_bytes,
        write_run,
    )

    make = (lambda: make_stack(width)) if family == "stack" else (lambda: make_model(family, narrow(family, width)))
    models = {way: make() for way in WAYS}
    modules = write_run(loras / family, models["merged"], checkpoints)
    step = one_step(family, width, tokens)
    times: dict[str, dict[str, list[float]]] = {way: {"step": [], "switch": [], "there": []} for way in WAYS}
    memory: dict[str, int] = {}

    def timed(way: str, what: str, call: Callable[[], None]) -> None:
        began = clock()
        call()
        times[way][what].append(clock() - began)

    for way, model in models.items():
        prepare(model)
        step(model)
        before = tensor_bytes()
        patched = _at(nodes, family, model, 1, way)
        prepare(patched)
        step(patched)
        memory[way] = tensor_bytes() - before
        del patched
    for number in range(ROUNDS * checkpoints):
        for way, model in models.items():
            found: list[Any] = []

            def switch(found: list[Any] = found, model: Any = model, way: str = way, number: int = number) -> None:
                found.append(_at(nodes, family, model, 1 + number % checkpoints, way))
                prepare(found[0])

            timed(way, "switch", switch)
            timed(way, "there", lambda found=found: prepare(found[0]))  # type: ignore[misc]
            step(found[0])
            timed(way, "step", lambda found=found: step(found[0]))  # type: ignore[misc]
    gc.collect()
    best = {way: {what: min(values) for what, values in found.items()} for way, found in times.items()}
    switches = {way: found["switch"] - found["there"] for way, found in best.items()}
    return {
        "model": family,
        "width": width,
        "modules": modules,
        "step_ms": {way: round(1e3 * found["step"], 2) for way, found in best.items()},
        "step_ratio": round(best["beside"]["step"] / best["merged"]["step"], 3),
        "switch_ms": {way: round(1e3 * seconds, 1) for way, seconds in switches.items()},
        "switch_ratio": round(switches["beside"] / switches["merged"], 3),
        "memory_mb": {way: round(size / 2**20, 2) for way, size in memory.items()},
        "memory_ratio": round(memory["beside"] / memory["merged"], 3),
    }


def _at(nodes: dict[str, Any], family: str, model: Any, step: int, way: str) -> Any:
    chosen = {"run": family, "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    return nodes["EriLoraAtStep"].execute(model=model, **chosen, apply=WAYS[way]).args[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="flux,sdxl,stack")
    parser.add_argument("--width", type=int, default=128, help="hidden size of Flux and SDXL; a multiple of 128")
    parser.add_argument("--tokens", type=int, default=256, help="image tokens of a step, a square number")
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        from comfyui_eridiffusion.benchmarks.lora_models import start_host

        nodes = start_host([Path(folder)])
        for family in options.models.split(","):
            width = 1024 if family == "stack" else options.width
            row = measure(nodes, Path(folder), family, width, options.tokens, options.checkpoints)
            print(json.dumps(row) if options.json else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
