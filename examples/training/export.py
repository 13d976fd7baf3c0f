"""Write the trained models into `examples/`: stored small, with the header that the example loaders check."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from loaders.weights import compact
from safetensors.torch import save_file
from torch import Tensor

from . import families, host, lora
from .runtime import missing, stored

log = logging.getLogger(__name__)


def write_all(work: Path, target: Path = host.EXAMPLES) -> None:
    """Models, autoencoders and text encoders to `models/`, LoRA runs to `runs/`."""
    models = target / "models"
    models.mkdir(parents=True, exist_ok=True)
    for family in families.LATENT_CHANNELS:
        final = "final" if family == "flux" else "base"
        state = stored(work / f"{family}-{final}.safetensors", missing)
        _write(models / f"{family}_small.safetensors", compact(state), {"eri_small_model": family})
        shutil.copytree(work / "runs" / lora.RUN[family], target / "runs" / lora.RUN[family], dirs_exist_ok=True)
    for channels in (4, 16):
        state = stored(work / f"autoencoder{channels}-sharp.safetensors", missing)
        half = {k: v.half() if v.ndim else v for k, v in with_scales(state, channels).items()}
        _write(models / f"vae{channels}_small.safetensors", half, {"eri_small_model": "vae"})
    words = stored(work / "text.safetensors", missing)
    half = {k: v.half() if v.is_floating_point() else v for k, v in words.items()}
    _write(models / "text_small.safetensors", half, {"eri_small_model": "text"})


def with_scales(state: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The autoencoder, and per family the scale and shift that make its latents unit-sized in that latent format."""
    result = {k: v for k, v in state.items() if "." in k}
    for family, form in families.LATENT_FORMATS.items():
        if families.LATENT_CHANNELS[family] == channels:
            scale = float(state["std"]) * float(form().scale_factor)
            shift = float(getattr(form(), "shift_factor", 0.0)) - float(state["mean"]) / scale
            result |= {f"scale_{family}": torch.tensor(scale), f"shift_{family}": torch.tensor(shift)}
    return result


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)
    log.info("%s: %.1f MB", path.name, path.stat().st_size / 1e6)
