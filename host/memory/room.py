"""Whether a diffusion model and a VAE have room beside each other."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch

#: ComfyUI's allowance on what a model takes (`load_models_gpu`).
_ALLOWANCE = 1.1


def room_for_both(model: Any, vae: Any, samples: torch.Tensor) -> bool:
    """Whether decoding one picture leaves at least half of the diffusion model on its device.

    ComfyUI moves off as much of a model as the next one needs. A part of it comes back in a fraction of the time that
    sampling takes; a model that goes altogether is loaded once more for every picture.

    Args:
        model, vae: MODEL and VAE.
        samples: the largest latents [B, C, H, W] of one picture.
    """
    device = model.load_device
    if vae.patcher.load_device != device or device == torch.device("cpu"):  # which ComfyUI takes for roomy
        return True
    working = vae.memory_used_decode(samples.shape, vae.vae_dtype) + comfy.model_management.extra_reserved_memory()
    working = max(working, comfy.model_management.minimum_inference_memory())
    left = comfy.model_management.get_total_memory(device) - working - _ALLOWANCE * vae.patcher.model_size()
    return bool(left >= model.model_size() / 2)
