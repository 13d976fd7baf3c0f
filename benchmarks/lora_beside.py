"""What a LoRA costs: LoRA at Step's two ways of applying one, beside ComfyUI's own loader. Rows of `make bench`.

    make bench ARGS="--only lora"

Flux and SDXL at their full depth but narrower (as benchmarks/lora_models.py makes them), in bfloat16, with a LoRA of
rank 16 on every layer of their blocks. Changing to another checkpoint is the node and ComfyUI's preparation of the
model, less the preparation of a model that is already there; the file is read each time. A step is one forward pass of
the model.
"""

from __future__ import annotations

import gc
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from comfyui_eridiffusion.benchmarks.rows import Row, seconds

#: Family, width, image tokens of a step. With a merged LoRA a model is twice in memory: 960 wide that is 5.5 GB.
MODELS: Final = (("flux", 128, 256), ("sdxl", 128, 256), ("flux", 256, 256), ("flux", 960, 256))
#: How LoRA at Step applies one.
WAYS: Final = {"beside": "beside the weights", "merged": "into the weights"}
Times = dict[str, dict[str, list[float]]]


def rows(repeats: int) -> list[Row]:
    """Of every model: changing the checkpoint beside the weights and merged, and a step with the LoRA beside."""
    logging.disable(logging.WARNING)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        from comfyui_eridiffusion.benchmarks.lora_models import start_host

        nodes = start_host([Path(folder)])
        for family, width, tokens in MODELS:
            found += rows_of(nodes, Path(folder), (family, width, tokens), repeats if width < 512 else 2)
            gc.collect()
    return found


def rows_of(nodes: dict[str, Any], loras: Path, of: tuple[str, int, int], repeats: int) -> list[Row]:
    """The rows of one model."""
    from comfyui_eridiffusion.benchmarks.lora_models import make_model, narrow, write_run

    family, width, tokens = of
    model, run = make_model(family, narrow(family, width)), f"{family}{width}"
    modules = write_run(loras / run, model, 2)
    times = measure(nodes, model, run, one_step(family, tokens), repeats)
    title = f"{family.replace('flux', 'Flux').replace('sdxl', 'SDXL')} {width} wide, {modules} layers"
    switch, step = (f"{what}, {title}" for what in ("another checkpoint", f"a step of {tokens} tokens, LoRA beside"))
    beside, merged, stock, without = (times[way] for way in ("beside", "merged", "stock", "without"))
    return [
        Row(f"{switch}, beside", "LoraLoader", "≤ 0.1", beside["switch"], stock["switch"]),
        Row(f"{switch}, merged", "LoraLoader", "≤ 0.5", merged["switch"], stock["switch"]),
        Row(step, "without a LoRA", "≤ 1.1", beside["step"], without["step"]),
        Row(step, "merged", "", beside["step"], merged["step"]),
    ]


def measure(nodes: dict[str, Any], model: Any, run: str, step: Callable[[Any], None], repeats: int) -> Times:
    """Seconds of changing to the second checkpoint from the first, and of a step, by way.

    The ways take turns on one model, so each begins with its own first checkpoint, which does not count.
    """
    from comfyui_eridiffusion.benchmarks.lora_models import clock, prepare

    times: Times = {way: {"switch": [], "step": []} for way in ("without", "stock", *WAYS)}
    for _ in range(repeats):
        for way, found in times.items():
            prepare(model)
            prepare(with_lora(nodes, model, run, 1, way))
            gc.collect()  # takes longer than the change, and would come into one of them now and then
            began = clock()
            patched = with_lora(nodes, model, run, 2, way)
            prepare(patched)
            switched = clock()
            prepare(patched)
            found["switch"].append(switched - began - (clock() - switched))
            step(patched)
            found["step"].append(seconds(partial(step, patched), least=0.3))
    return times


def with_lora(nodes: dict[str, Any], model: Any, run: str, step: int, way: str) -> Any:
    """The model with the LoRA of a step, applied in one of the ways."""
    from comfyui_eridiffusion.tests.nodes.host_calls import outputs

    host = SimpleNamespace(nodes=nodes)
    if way == "without":
        return model
    if way == "stock":
        file = f"{run}/a-step{step:08d}.safetensors"
        return outputs(host, "LoraLoaderModelOnly", model=model, lora_name=file, strength_model=1.0)[0]
    chosen = {"run": run, "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    return outputs(host, "EriLoraAtStep", model=model, **chosen, apply=WAYS[way])[0]


def one_step(family: str, tokens: int) -> Callable[[Any], None]:
    """A forward of the diffusion model, as a step makes it, for a loaded MODEL."""
    import torch

    side = int(tokens**0.5)

    def step(model: Any) -> None:
        network, device = model.model.diffusion_model, model.load_device
        half = {"dtype": torch.bfloat16, "device": device}
        time = torch.full((1,), 500.0, device=device)
        context = torch.ones(1, 77, 64, **half)
        with torch.inference_mode():
            if family == "flux":
                latent, pooled = torch.ones(1, 16, 2 * side, 2 * side, **half), torch.ones(1, 64, **half)
                network(latent, time / 1000, context, pooled, guidance=time / 100)
            else:
                latent, pooled = torch.ones(1, 4, side, side, **half), torch.ones(1, 64 + 6 * 256, **half)
                network(latent, time, context=context, y=pooled)

    return step
