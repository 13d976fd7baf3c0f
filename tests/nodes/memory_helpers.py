"""What the memory tests share. Import inside tests only: the host must be importable (fixture `comfy_host`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models

FAMILIES = ["flux", "sd35", "sdxl"]


def with_lora(model: Any, seed: int, strength: float = 1.0) -> Any:
    """A clone with a LoRA of rank 2 on every matrix of the diffusion model, through the host's own loader."""
    import comfy.sd

    generator = torch.Generator().manual_seed(seed)
    lora = {}
    for name, weight in model.model.diffusion_model.state_dict().items():
        if weight.ndim == 2 and name.endswith(".weight"):
            key = f"diffusion_model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            lora[f"{key}.lora_up.weight"] = 0.1 * torch.randn(rows, 2, generator=generator)
            lora[f"{key}.lora_down.weight"] = torch.randn(2, columns, generator=generator) / columns**0.5
    return comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)[0]


def small_vae(channels: int = 4, seed: int = 0) -> Any:
    """VAE of the host's own AutoencoderKL, 32 channels wide, 8 pixels a cell."""
    import comfy.sd

    sizes = {"z_channels": channels, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32}
    plan = {"ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0, "double_z": True}
    vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": {**sizes, **plan}, "embed_dim": channels}})
    small_models.initialise(vae.first_stage_model, seed)
    vae.latent_channels = channels
    return vae


def weights(patcher: Any) -> dict[str, Tensor]:
    """Copies of a MODEL's parameters and buffers."""
    return {key: value.clone() for key, value in patcher.model.state_dict().items()}


def same_weights(patcher: Any, before: dict[str, Tensor]) -> bool:
    after = patcher.model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(before[key], after[key]) for key in before)


def policy(comfy_host: Any, mode: str, **given: Any) -> Any:
    """EriMemoryPolicy's three outputs."""
    sizes = {"slice_size": 1024, "tile_size": 512}
    return comfy_host.nodes["EriMemoryPolicy"].execute(mode=mode, **{**sizes, **given}).args


def loaded_names() -> list[str]:
    """Class names of the models on their devices now, by the host's own list."""
    import comfy.model_management as management

    return [type(model.model).__name__ for model in management.loaded_models() if model.loaded_size() > 0]
