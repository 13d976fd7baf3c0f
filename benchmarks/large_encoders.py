"""Sweeps and cached prompts where the text encoders weigh what real ones do. Rows of `make bench`.

    make bench ARGS="--only limited,cached"

CLIP-L as it is (123 million parameters) and T5 XXL at its real width with fewer blocks, both in bfloat16 with random
weights, and Flux 512 wide with 4 double and 8 single blocks.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from comfyui_eridiffusion.benchmarks.meter import Found, Meter, limit_memory
from comfyui_eridiffusion.benchmarks.rows import Row
from comfyui_eridiffusion.benchmarks.sweep_beside_stock import in_turns, of_host, prompts_of, queue, rows_of, start

FILE: Final = "large_text_encoders.safetensors"
PROMPTS, CHECKPOINTS, STEPS = 4, 3, 8
#: Blocks of T5, of 24: with them the text encoders have 640 million parameters.
BLOCKS: Final = 2


def limited(repeats: int) -> list[Row]:
    """A sweep and stock graphs where the text encoders and the diffusion model have no room beside each other."""
    from comfyui_eridiffusion.benchmarks.lora_models import write_run

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start(folder)
        models = offer(folder)
        run = folder / "loras" / "run"
        write_run(run, large_flux(), CHECKPOINTS)
        files, spec, meter = sorted(run.iterdir()), prompts_of(PROMPTS), Meter()
        spec = spec.part([replace(item, steps=STEPS) for item in spec.items])
        limit_memory((folder / "text" / FILE).stat().st_size + large_flux().model_size() // 2)
        short = of_host(spec.part(spec.items[:1]), files[:1], models)
        found = in_turns(meter, short, of_host(spec, files, models), repeats)
    title = f"sweep of {PROMPTS} prompts × {CHECKPOINTS} checkpoints, {STEPS} steps, room for one model, a picture"
    return rows_of(found, title, PROMPTS * CHECKPOINTS, aim="≤ 0.5")


def cached(repeats: int) -> list[Row]:
    """A picture of prompts that were encoded before, in a ComfyUI that has nothing loaded, beside stock's."""
    from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed
    from comfyui_eridiffusion.workflows import build

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start(folder)
        models = offer(folder)
        spec, meter = prompts_of(3), Meter()
        one, two, three = (spec.part([replace(item, steps=4)]) for item in spec.items)
        ours = with_cache(build(one, models).api())
        stock, other, third = (build(part, models, style="stock").api() for part in (one, two, three))
        queue([ours])  # encodes
        found: dict[str, list[Found]] = {"cached": [], "cold": [], "warm": []}
        for _ in range(repeats):
            found["cached"].append(meter.of(lambda: queue([ours])))
            gc.collect()
            found["cold"].append(meter.of(lambda: queue([stock])))
            executor = new_executor()
            succeed(other, executor)
            found["warm"].append(meter.of(functools.partial(succeed, third, executor)))
            del executor
            gc.collect()
    title, note = "a picture of 4 steps, prompt encoded earlier, ComfyUI started anew", found["cached"][0].note()
    whole = {way: [one.whole for one in runs] for way, runs in found.items()}
    beside = {way: f"{note}; of the other {found[way][0].note()}" for way in ("cold", "warm")}
    return [
        Row(title, "stock, started anew, too", "≤ 0.5", whole["cached"], whole["cold"], beside["cold"]),
        Row(title, "stock, all loaded, another prompt", "", whole["cached"], whole["warm"], beside["warm"]),
    ]


def with_cache(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph of the pack whose prompts come from the disk when they were encoded before."""
    widgets = {"key": "", "size_limit_mb": 4096, "mode": "use"}
    cache = {"class_type": "EriCacheConditioning", "inputs": {**widgets, "conditioning": ["positive", 0]}}
    text = json.dumps(graph).replace('["positive", 0]', '["cache", 0]')
    return {**json.loads(text), "cache": cache}


@functools.lru_cache
def large_flux() -> Any:
    """The diffusion model, made once: only the text encoders are read from a file."""
    from comfyui_eridiffusion.benchmarks.lora_models import Size, make_model

    return make_model("flux", Size(512, 64, 4096, 768, 4))


def large_clip() -> Any:
    """ComfyUI's CLIP of Flux with CLIP-L and T5 XXL's first blocks, its weights not yet set."""
    import comfy.sd
    import comfy.supported_models_base
    import comfy.text_encoders.flux as text
    import torch

    config = Path(text.__file__).with_name("t5_config_xxl.json").read_text(encoding="utf-8")
    options = {"t5xxl_model_config": {**json.loads(config), "num_layers": BLOCKS}, "dtype": torch.bfloat16}
    target = comfy.supported_models_base.ClipTarget(text.FluxTokenizer, text.FluxClipModel)
    return comfy.sd.CLIP(target, model_options=options)


def offer(folder: Path) -> Path:
    """Register loaders for these models; the description of the models for `build`."""
    import folder_paths
    import nodes
    import torch
    from safetensors.torch import save_file

    block = (torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)) * 0.02).bfloat16()
    tensors = {}
    for name, value in large_clip().cond_stage_model.state_dict().items():
        count = value.numel()
        tensors[name] = block.repeat(-(-count // len(block)))[:count].clone().view(value.shape)
    (folder / "text").mkdir()
    save_file(tensors, folder / "text" / FILE)
    folder_paths.add_model_folder_path("text_encoders", str(folder / "text"))
    loaders = {
        "model": ("MODEL", lambda name: large_flux().clone(), name_of(["flux"])),
        "clip": ("CLIP", lambda name: read_clip(folder / "text" / name), name_of([FILE])),
    }
    for part, (kind, load, inputs) in loaders.items():
        nodes.NODE_CLASS_MAPPINGS[f"Large_{part}"] = node_of(kind, load, inputs)
    described: dict[str, Any] = {
        part: {"class_type": f"Large_{part}", "inputs": {"name": name}, "output": 0}
        for part, name in (("model", "flux"), ("clip", FILE))
    }
    vae = {"name": "vae16_small.safetensors", "family": "flux"}
    described["vae"] = {"class_type": "EriExampleVAELoader", "inputs": vae, "output": 0}
    description = folder / "models.yaml"
    description.write_text(json.dumps({"family": "flux", "loaders": described}), encoding="utf-8")
    return description


def read_clip(file: Path) -> Any:
    """The text encoders of a file, as ComfyUI's loaders read them."""
    import comfy.utils

    clip = large_clip()
    clip.cond_stage_model.load_state_dict(comfy.utils.load_torch_file(str(file)), strict=True)
    return clip


def name_of(names: list[str]) -> dict[str, Any]:
    """A node's inputs: one name of these."""
    return {"required": {"name": (names,)}}


def node_of(kind: str, load: Callable[[str], Any], inputs: dict[str, Any]) -> type:
    """A loader as ComfyUI knows nodes."""

    def execute(_self: object, name: str) -> tuple[Any]:
        return (load(name),)

    found = {"INPUT_TYPES": classmethod(lambda _cls: inputs), "RETURN_TYPES": (kind,), "FUNCTION": "load"}
    return type(f"Large{kind}", (), {**found, "CATEGORY": "benchmarks", "load": execute})
