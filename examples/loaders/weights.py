"""From the small models' safetensors files to the host's MODEL, CLIP and VAE objects."""

from __future__ import annotations

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.taesd.taesd
import comfy.utils
import torch
from torch import Tensor

from . import architecture
from .autoencoder import widen


def set_text_weights(clip: comfy.sd.CLIP, state: dict[str, Tensor]) -> None:
    """Load `<encoder>.<name>` tensors into a CLIP object; embedding rows not stored come from their fixed seed.

    Raises ValueError naming the first tensor that is missing or not known.
    """
    for name, encoder in architecture.encoders_of(clip).items():
        row_name, vocabulary, width, seed = architecture.EMBEDDINGS[name]
        own = {
            k[len(name) + 1 :]: v.float()
            for k, v in state.items()
            if k.startswith(f"{name}.") and not k.endswith((".rows", ".row_ids"))
        }
        embedding = architecture.filled_rows(vocabulary, width, seed)
        embedding[state[f"{name}.row_ids"].long()] = state[f"{name}.rows"].float()
        missing, unexpected = encoder.load_state_dict({**own, row_name: embedding}, strict=False)
        wrong = [k for k in (*missing, *unexpected) if not k.endswith("logit_scale")]
        if wrong:
            raise ValueError(f"text encoder {name}: the file does not fit: {wrong[0]} and {len(wrong) - 1} more")


def load_model(path: str, family: str) -> comfy.model_patcher.ModelPatcher:
    """The diffusion model in `path` as the host's MODEL; family flux, sd35 or sdxl.

    Raises ValueError if it does not fit.
    """
    state, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    found = (metadata or {}).get("eri_small_model")
    if found != family:
        raise ValueError(f"{path}: this is {found or 'not a small example model'}, expected {family}")
    config = architecture.model_config(family)
    state = config.process_unet_state_dict(restored(state))  # names as this version of the host has them
    device = comfy.model_management.unet_offload_device()
    model = config.get_model(state, "", device=device)
    missing, unexpected = model.diffusion_model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(f"{path}: does not fit the small {family} model: {[*missing, *unexpected][0]}")
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=device
    )


SCALE = ".int8_scale"


def compact(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as 8-bit integers with one scale per output row, everything else in half precision.

    The rounding error is at most 1/254 of a row's largest weight; the files are half as large as in half precision.
    """
    result = {}
    for name, tensor in state.items():
        if tensor.ndim < 2 or tensor.numel() < 4096:
            result[name] = tensor.half()
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1).clamp(min=1e-8) / 127.0
        result[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        result[name + SCALE] = scale
    return result


def restored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors of a `compact` state."""
    result = {name: tensor for name, tensor in state.items() if not name.endswith(SCALE)}
    for name in [name for name in result if name + SCALE in state]:
        scale = state[name + SCALE].view(-1, *[1] * (result[name].ndim - 1))
        result[name] = result[name].float() * scale
    return {name: tensor.float() for name, tensor in result.items()}


def load_clip(path: str, family: str) -> comfy.sd.CLIP:
    """The family's small text encoders in `path` as the host's CLIP."""
    clip = architecture.new_clip(family)
    set_text_weights(clip, comfy.utils.load_torch_file(path))
    return clip


def load_vae(path: str, family: str) -> comfy.sd.VAE:
    """The narrow autoencoder in `path`, widened to the host's TAESD, with the scale of one family, as the host's VAE.

    Raises ValueError when the file has no scale for that family (16-channel files serve Flux and SD 3.5).
    """
    state = comfy.utils.load_torch_file(path)
    if f"scale_{family}" not in state:
        raise ValueError(f"{path}: not an autoencoder for {family}; 16 channels serve flux and sd35, 4 serve sdxl")
    return comfy.sd.VAE(sd=widened_taesd(state, family))


def widened_taesd(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """`encoder.N…`/`decoder.N…` tensors of the narrow network as a state dict of the host's own TAESD class."""
    named = {f"taesd_{k}": v.float() for k, v in state.items() if "." in k}
    named |= {"vae_scale": state[f"scale_{family}"].float(), "vae_shift": state[f"shift_{family}"].float()}
    channels = named["taesd_encoder.14.weight"].shape[0]
    return widen(named, comfy.taesd.taesd.TAESD(latent_channels=channels).state_dict())
