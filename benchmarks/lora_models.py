"""ComfyUI in this process, and in it models of its own classes with random weights and runs of LoRAs for them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
RANK: Final = 16
#: Where the layers are that trainers train.
BLOCKS: Final = ("double_blocks", "single_blocks", "joint_blocks", "input_blocks", "middle_block", "output_blocks")


class NotHereError(Exception):
    """What is asked for does not exist on this machine, or in this ComfyUI."""


class Size(NamedTuple):
    """A model's hidden size, the width of a head, those of its context and pooled embedding, and the blocks of one
    kind (None = as many as the real model has)."""

    width: int
    head: int
    context: int
    pooled: int
    depth: int | None = None


REAL: Final = {
    "flux": Size(3072, 128, 4096, 768),
    "sd35": Size(1536, 64, 4096, 2048),
    "sdxl": Size(1280, 64, 2048, 1280),
}


def narrow(family: str, width: int = 128) -> Size:
    """As many layers as the real model has (SD 3.5: fewer, its width follows from them), each `width` wide."""
    return Size(width, 32 if family == "sdxl" else 64, 4096 if family == "sd35" else 64, 64)


def clock() -> float:
    """Seconds: of this process's own time, which other load changes less; on a GPU of the wall clock, its work done."""
    import torch

    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def start_host(loras: Iterable[Path], dynamic: bool = False) -> dict[str, Any]:
    """Import ComfyUI, the pack and the example loaders in this process; the nodes by name.

    loras: what ComfyUI's loras folders are. dynamic: with dynamic VRAM; raises NotHereError where there is none.
    """
    from comfyui_eridiffusion.dev.host_install import WORKSPACE, find_host, write_shim
    from comfyui_eridiffusion.dev.host_links import link_custom_nodes, write_model_paths
    from comfyui_eridiffusion.tests.dynamic_vram import load_library, switch_on

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    sys.argv = sys.argv[:1]  # ComfyUI reads it
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    args.disable_api_nodes = args.disable_all_custom_nodes = True
    args.database_url = "sqlite:///:memory:"
    if dynamic:
        load_library()
    custom_nodes, args.whitelist_custom_nodes = link_custom_nodes(WORKSPACE, install)
    import folder_paths
    import utils.extra_config

    paths = WORKSPACE / f"benchmark_paths_{os.getpid()}.yaml"
    write_model_paths(paths, custom_nodes, {})
    utils.extra_config.load_extra_path_config(str(paths))
    paths.unlink()
    folder_paths.folder_names_and_paths["loras"] = ([str(folder) for folder in loras], {".safetensors"})
    import nodes
    import server

    loop = asyncio.new_event_loop()
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))
    if dynamic and not switch_on():
        raise NotHereError("no dynamic VRAM here")
    found: dict[str, Any] = nodes.NODE_CLASS_MAPPINGS
    return found


def settings_of(family: str, size: Size) -> Any:
    """What ComfyUI's detection finds in the files of Flux dev, SD 3.5 Medium and SDXL, at this size."""
    import comfy.supported_models
    import torch

    from comfyui_eridiffusion.tests.nodes.small_models import flux_settings_of_this_host

    flux = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": size.pooled,
        "context_in_dim": size.context, "hidden_size": size.width, "mlp_ratio": 4.0,
        "num_heads": size.width // size.head, "depth": size.depth or 19, "depth_single_blocks": 2 * (size.depth or 19),
        "axes_dim": [16, 56, 56] if size.head == 128 else [16, 24, 24], "theta": 10000, "patch_size": 2,
        "qkv_bias": True, "guidance_embed": True,
    }  # fmt: skip
    depth = size.width // 64
    sd35 = {
        "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": depth, "input_size": None,
        "adm_in_channels": size.pooled, "num_patches": 384**2, "pos_embed_max_size": 384, "qk_norm": "rms",
        "context_embedder_config": {"target": "torch.nn.Linear",
                                    "params": {"in_features": size.context, "out_features": size.width}},
        "pos_embed_scaling_factor": None, "x_block_self_attn_layers": list(range(13 * depth // 24)),
    }  # fmt: skip
    sdxl = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": size.width // 4,
        "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "num_head_channels": size.head,
        "use_spatial_transformer": True, "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10,
        "context_dim": size.context, "adm_in_channels": size.pooled + 6 * 256, "num_classes": "sequential",
        "use_linear_in_transformer": True, "use_temporal_attention": False, "legacy": False,
    }  # fmt: skip
    kind, config = {"flux": ("Flux", {**flux, **flux_settings_of_this_host()}), "sd35": ("SD3", sd35),
                    "sdxl": ("SDXL", sdxl)}[family]  # fmt: skip
    settings = getattr(comfy.supported_models, kind)(config)
    settings.inpaint_model = lambda: False
    settings.set_inference_dtype(torch.bfloat16, None)
    return settings


def make_model(family: str, size: Size) -> Any:
    """MODEL of Flux dev, SD 3.5 Medium or SDXL in bfloat16, with the patcher that ComfyUI's loaders make now."""
    import comfy.model_management as management
    import comfy.model_patcher
    import torch

    settings = settings_of(family, size)
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    state = _random_state(settings)
    model = settings.get_model({}, "", device=torch.device("cpu"))
    patcher = kind(model, management.get_torch_device(), torch.device("cpu"))
    dynamic = {"assign": True} if kind is not comfy.model_patcher.ModelPatcher else {}
    model.load_model_weights(state, "", **dynamic)
    model.diffusion_model.requires_grad_(False)
    return patcher


def _random_state(settings: Any) -> dict[str, Any]:
    """A state dict of the model's names: a short run of random numbers again and again, which takes no time to draw."""
    import torch

    library = sys.modules.get("comfy.memory_management")
    lazy, found = getattr(library, "aimdo_enabled", False), {}
    if library is not None and lazy:
        library.aimdo_enabled = False  # with it layers have no shapes before they are loaded
    model = settings.get_model({}, "", device=torch.device("meta"))
    if library is not None and lazy:
        library.aimdo_enabled = lazy
    block = (torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)) * 0.02).bfloat16()
    for name, value in model.diffusion_model.state_dict().items():
        count = value.numel()
        numbers = block.repeat(-(-count // len(block))) if count > len(block) else block
        found[name] = numbers[:count].clone().view(value.shape).to(value.dtype)
    return found


def write_run(folder: Path, model: Any, checkpoints: int) -> int:
    """Checkpoints as sd-scripts writes them, which ComfyUI's own loader reads, too; returns the modules of one."""
    import torch
    from safetensors.torch import save_file

    shapes = {
        name: value.shape
        for name, value in model.model.state_dict().items()
        if name.startswith(tuple(f"diffusion_model.{block}" for block in BLOCKS)) and value.ndim == 2
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
    """What ComfyUI does before the first step: load, unpatch, patch; then a sampler that takes none."""
    import comfy.samplers
    import torch

    nothing = comfy.samplers.KSAMPLER(lambda wrapped, x, sigmas, **_: x)
    latent = torch.zeros(1, model.get_model_object("latent_format").latent_channels, 8, 8)
    comfy.samplers.CFGGuider(model).sample(latent, latent, nothing, torch.tensor([1.0, 0.0]), disable_pbar=True)
