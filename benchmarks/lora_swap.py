"""How long a sweep over a run's checkpoints spends on LoRAs: LoRA at Step beside the stock LoraLoader.

    .venv/bin/python benchmarks/lora_swap.py [--families flux,sdxl] [--width 128] [--checkpoints 10] [--first ours]

Both sides do the same in the same process, on models of the same size and from the same files: the node is executed
and the host's guider prepares the model as for any sampling, with a sampler that takes no step. The time of the same
preparation without any change of LoRA is taken off. The models are Flux and SDXL at their full depth, so with every
key a real LoRA has, but narrow: at real widths both sides spend longer, by the same amount, on the arithmetic of
patching a weight. No weights are fetched. Nothing is warmed up for either side: the first sweeps are those of a fresh
process, and `--first` says who begins each step; the sides take turns step by step, and of several rounds the smallest
time of each side counts. On a CPU the process's own time is taken, which other load on the machine changes less; on a
GPU the wall clock.

Measured on two cores of an idle CPU, one thread, ten checkpoints, from the loaded base model on, each figure the first
sweep of a fresh process, its own time over stock's. Flux (304 modules): 0.41, 0.40, 0.40, 0.42, 0.42 (ours begins),
0.41, 0.45, 0.39, 0.42, 0.42 (stock begins); best of two sweeps 0.34 to 0.41; under heavy other load 0.40 to 0.44. SDXL
(739 modules), under that load: 0.36, 0.34. Stock took 2.3 to 2.8 s and 7.3 to 7.8 s. No growth per step; weights equal
to the stock loader's bit for bit. The arithmetic of patching, the host's own, is the same on both sides, and on a CPU
it takes the more of both the wider the model is: 0.62 and 0.64 for Flux at `--width 256`. What is saved is unloading,
restoring and loading the whole model.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]

RANK = 16


class Seconds(NamedTuple):
    """Of this process's own time, which other load on the machine changes less, and of the wall clock."""

    own: float
    wall: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.own - other.own, self.wall - other.wall)

    def plus(self, other: Seconds) -> Seconds:
        """Both sums."""
        return Seconds(self.own + other.own, self.wall + other.wall)


#: By side: the model, and what gives it the LoRA of a step.
Sides = dict[str, tuple[Any, Callable[[Any, int], Any]]]


def clock() -> Seconds:
    """Now; on a GPU its work is waited for, and both are the wall clock."""
    import torch

    wall = time.perf_counter()
    if not torch.cuda.is_available():
        return Seconds(time.process_time(), wall)
    torch.cuda.synchronize()
    wall = time.perf_counter()
    return Seconds(wall, wall)


def start_host(loras: Path) -> dict[str, Any]:
    """Import the host and the pack as custom nodes in this process; the host's nodes by name."""
    import asyncio

    from comfyui_eridiffusion.dev.host_install import WORKSPACE, find_host, write_shim
    from comfyui_eridiffusion.dev.host_links import link_custom_nodes

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    custom_nodes, names = link_custom_nodes(WORKSPACE, install)
    import folder_paths
    import utils.extra_config  # noqa: F401  (first, as the host's main does: another `utils` comes into the way later)

    folder_paths.folder_names_and_paths["loras"] = ([str(loras)], {".safetensors"})
    import nodes
    import server

    loop = asyncio.new_event_loop()
    server.PromptServer(loop)
    loop.run_until_complete(nodes.load_custom_node(str(custom_nodes / names[0]), module_parent="custom_nodes"))
    return nodes.NODE_CLASS_MAPPINGS


def make_model(family: str, width: int) -> Any:
    """MODEL of full-depth Flux (19 double, 38 single blocks) or SDXL (all 70 transformer blocks), in bfloat16."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    flux = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 64,
        "hidden_size": width, "mlp_ratio": 4.0, "num_heads": width // 64, "depth": 19, "depth_single_blocks": 38,
        "axes_dim": [16, 24, 24], "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": True,
    }  # fmt: skip
    sdxl = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": width // 4,
        "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "num_head_channels": 32,
        "use_spatial_transformer": True, "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10,
        "context_dim": 64, "adm_in_channels": 64 + 6 * 256, "num_classes": "sequential",
        "use_linear_in_transformer": True, "use_temporal_attention": False, "legacy": False,
    }  # fmt: skip
    kind, config = {"flux": ("Flux", flux), "sdxl": ("SDXL", sdxl)}[family]
    settings = getattr(comfy.supported_models, kind)(config)
    settings.inpaint_model = lambda: False
    settings.set_inference_dtype(torch.bfloat16, None)
    model = settings.get_model({}, "", device="cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.diffusion_model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def write_run(folder: Path, model: Any, checkpoints: int) -> int:
    """Checkpoints as sd-scripts writes them, which both sides read; returns the modules of one."""
    import torch
    from safetensors.torch import save_file

    blocks = ("double_blocks", "single_blocks", "input_blocks", "middle_block", "output_blocks")
    shapes = {
        name: value.shape
        for name, value in model.model.state_dict().items()
        if name.startswith(tuple(f"diffusion_model.{block}" for block in blocks)) and value.ndim == 2
    }
    folder.mkdir()
    for step in range(1, checkpoints + 1):
        generator = torch.Generator().manual_seed(step)
        tensors = {}
        for name, (rows, columns) in shapes.items():
            module = "lora_unet_" + name.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
            tensors[f"{module}.lora_down.weight"] = torch.randn(RANK, columns, generator=generator).bfloat16()
            tensors[f"{module}.lora_up.weight"] = torch.randn(rows, RANK, generator=generator).bfloat16() * 0.01
            tensors[f"{module}.alpha"] = torch.tensor(float(RANK))
        save_file(tensors, folder / f"a-step{step:08d}.safetensors", metadata={"ss_steps": str(step)})
    return len(shapes)


def prepare(model: Any) -> None:
    """What the host does before the first step: load, unpatch, patch; then a sampler that takes none."""
    import comfy.samplers
    import torch

    nothing = comfy.samplers.KSAMPLER(lambda wrapped, x, sigmas, **_: x)
    latent = torch.zeros(1, model.get_model_object("latent_format").latent_channels, 8, 8)
    comfy.samplers.CFGGuider(model).sample(latent, latent, nothing, torch.tensor([1.0, 0.0]), disable_pbar=True)


def weights(model: Any) -> dict[str, Any]:
    """Copies of the weights as they are now."""
    return {name: value.cpu().clone() for name, value in model.model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    import torch

    return all(torch.equal(one[name], other[name]) for name in one)


def sweep(sides: Sides, order: Sequence[str], checkpoints: int) -> tuple[dict[str, Seconds], int]:
    """What the LoRAs of one sweep take on each side, from the loaded base model on, and the bytes in tensors that a
    step of both adds. The sides take turns at every step, so that what else the machine does meets both."""
    for model, _ in sides.values():
        prepare(model)
    gc.collect()  # so that neither pays for what was made before
    seconds, held = dict.fromkeys(sides, Seconds(0.0, 0.0)), []
    patched = {side: model for side, (model, _) in sides.items()}
    for step in range(1, checkpoints + 1):
        for side in order:
            model, patch = sides[side]
            began = clock()
            patched[side] = patch(model, step)
            prepare(patched[side])
            seconds[side] = seconds[side].plus(clock() - began)
        if step in (2, checkpoints):
            held.append(tensor_bytes())
    for side in order:
        began = clock()
        for _ in range(checkpoints):
            prepare(patched[side])
        seconds[side] -= clock() - began
    return seconds, round((held[-1] - held[0]) / (checkpoints - 2))


def tensor_bytes() -> int:
    """Bytes of all tensors alive, each storage counted once."""
    import torch

    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (torch.Tensor, torch.nn.Parameter)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def measure(
    nodes: dict[str, Any], loras: Path, family: str, width: int, checkpoints: int, first: str, rounds: int
) -> dict[str, Any]:
    """Both sides on one family; every figure in plain types."""
    stock_model, our_model = make_model(family, width), make_model(family, width)
    base = weights(our_model)
    modules = write_run(loras / family, our_model, checkpoints)
    at_step, loader = nodes["EriLoraAtStep"], nodes["LoraLoader"]()

    def ours(model: Any, step: int) -> Any:
        chosen = {"run": family, "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
        return at_step.execute(model=model, **chosen, apply="into the weights").args[0]

    def stock(model: Any, step: int) -> Any:
        return loader.load_lora(model, None, f"{family}/a-step{step:08d}.safetensors", 1.0, 0.0)[0]

    sides: Sides = {"stock": (stock_model, stock), "ours": (our_model, ours)}
    order = sorted(sides, key=lambda side: side != first)
    found: dict[str, list[Seconds]] = {side: [] for side in sides}
    growth = 0
    for _ in range(rounds):
        sweeps, growth = sweep(sides, order, checkpoints)
        for side, seconds in sweeps.items():
            found[side].append(seconds)
        order.reverse()
    last_ours, last_stock = ours(our_model, checkpoints), stock(stock_model, checkpoints)
    prepare(last_ours)
    ours_patched = weights(our_model)
    prepare(last_stock)
    same_weights = same(ours_patched, weights(stock_model))
    prepare(our_model)
    first_own, first_wall = (found["ours"][0][i] / found["stock"][0][i] for i in (0, 1))
    best = {side: min(times) for side, times in found.items()}
    return {
        "family": family,
        "modules": modules,
        "checkpoints": checkpoints,
        "begins": first,
        "stock_seconds": round(best["stock"].own, 3),
        "our_seconds": round(best["ours"].own, 3),
        "ratio": round(best["ours"].own / best["stock"].own, 3),
        "first_sweep_ratio": round(first_own, 3),
        "first_sweep_wall_ratio": round(first_wall, 3),
        "growth_bytes_per_step": growth,
        "patched_weights_equal_stock": same_weights,
        "base_restored": same(weights(our_model), base),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="flux,sdxl")
    parser.add_argument("--width", type=int, default=128, help="hidden size; a multiple of 128")
    parser.add_argument("--checkpoints", type=int, default=10, help="three or more")
    parser.add_argument("--first", choices=("stock", "ours"), default="stock", help="whose sweep is the first")
    parser.add_argument("--rounds", type=int, default=2, help="sweeps of each side; 1 = those of a fresh process only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        nodes = start_host(Path(folder))
        for family in options.families.split(","):
            sizes = (options.width, options.checkpoints, options.first, options.rounds)
            row = measure(nodes, Path(folder), family, *sizes)
            print(json.dumps(row) if options.json else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
