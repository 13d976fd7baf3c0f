"""LATENT dictionaries to and from Flux's token layout."""

from __future__ import annotations

from typing import Any, Final

import comfy.latent_formats
import torch
from torch import Tensor

from ...errors import NodeInputError
from ...families import FLUX
from ...samplers.flux_latents import from_patches, image_ids, patchify, text_ids, to_patches, unpatchify
from ..tensor_files import read_tensor

Latent = dict[str, Any]

#: Channels of a Flux latent.
CHANNELS: Final = FLUX.latent_channels
#: What packed latents may be called in a file of several tensors, best first.
_NAMES: Final = ("tokens", "packed_latents", "latents", "latent_tensor", "latent", "noise")


def patchify_latent(
    latent: Latent, text_length: int, index: int = 0, model_space: bool = False, layout: str = "packed"
) -> tuple[Latent, Latent, Latent]:
    """Return a latent's tokens [B, N, 64], image ids [B, N, 3] and text ids [B, text_length, 3] as LATENT dictionaries.

    The tokens keep the latent's noise_mask and batch_index.

    Args:
        latent: a Flux latent.
        text_length: the number of text tokens.
        index: 0 for the picture itself, 1, 2, … for reference pictures.
        model_space: scales and shifts the values to those that the model sees, which trainers pack.
        layout: "packed", or "patches" for tokens in rows and columns [B, 64, H/2, W/2].

    Raises NodeInputError for a latent that is not Flux's, or holds NaN.
    """
    samples = _finite(latent["samples"], "latent")
    if samples.ndim != 4 or samples.shape[1] != CHANNELS:
        raise NodeInputError(
            f"latent is {list(samples.shape)}; Flux's latents are [B, {CHANNELS}, H, W]. Use EmptySD3LatentImage, or "
            "VAE Encode with Flux's VAE."
        )
    if samples.shape[0] == 0:
        raise NodeInputError("latent is an empty batch. Set batch_size to 1 or more.")
    packed = patchify(comfy.latent_formats.Flux().process_in(samples) if model_space else samples)
    batch = samples.shape[0]
    ids = image_ids(packed.height, packed.width, batch, index)
    tokens = packed.tokens if layout == "packed" else to_patches(*packed)
    return {**latent, "samples": tokens}, {"samples": ids}, {"samples": text_ids(text_length, batch)}


def unpatchify_latent(
    tokens: Latent | None, width: int, height: int, file: str = "", model_space: bool = False
) -> Latent:
    """Return a latent [B, 16, height/8, width/8] of tokens [B, N, 64] or [B, 64, height/16, width/16].

    Args:
        tokens: a LATENT dictionary, or None to read `file`.
        width: the picture's width in pixels, rounded up to whole cells.
        height: the picture's height in pixels.
        file: a path as `tensor_files.read_tensor` takes it. The file may also hold an unpacked latent [B, 16, H, W].
        model_space: says that the values are those that the model sees, and brings them to ComfyUI's scale.

    Raises NodeInputError when both or neither are given, and for tokens that are not Flux's or not of that size.
    """
    if bool(file) == (tokens is not None):
        which = "both tokens and file are" if file else "neither tokens nor file is"
        raise NodeInputError(f"{which} given. Connect tokens, or name a file.")
    rows, columns = -(-height // 8), -(-width // 8)
    latent = {"samples": _batched(read_tensor(file, _NAMES), rows, columns)} if tokens is None else tokens
    samples = _finite(latent["samples"], "tokens")
    if samples.ndim == 4 and tuple(samples.shape[1:]) == (CHANNELS, rows, columns) and file:
        samples = samples.clone()
    else:
        samples = _unpacked(samples, rows, columns)
    return {**latent, "samples": comfy.latent_formats.Flux().process_out(samples) if model_space else samples}


def _unpacked(samples: Tensor, rows: int, columns: int) -> Tensor:
    if samples.ndim == 4 and tuple(samples.shape[1:]) == (4 * CHANNELS, -(-rows // 2), -(-columns // 2)):
        samples = from_patches(samples)
    if samples.ndim != 3 or samples.shape[2] != 4 * CHANNELS:
        raise NodeInputError(
            f"tokens are {list(samples.shape)}; Flux's tokens are [B, N, {4 * CHANNELS}], or "
            f"[B, {4 * CHANNELS}, {-(-rows // 2)}, {-(-columns // 2)}] for this width and height. Connect "
            "EriFluxPatchify's tokens, or name a file of packed latents."
        )
    if samples.shape[0] == 0:
        raise NodeInputError("tokens are an empty batch. Connect those of at least one picture.")
    count = -(-rows // 2) * -(-columns // 2)
    if samples.shape[1] != count:
        raise NodeInputError(
            f"tokens are {samples.shape[1]} per picture, but {columns * 8} x {rows * 8} pixels have {count}. Set width "
            "and height to the picture's size."
        )
    return unpatchify(samples, rows, columns)


def _batched(tensor: Tensor, rows: int, columns: int) -> Tensor:
    """Add a batch axis to [N, 64], [16, H, W] and [64, H/2, W/2]."""
    single = ((CHANNELS, rows, columns), (4 * CHANNELS, -(-rows // 2), -(-columns // 2)))
    return tensor[None] if tensor.ndim == 2 or tuple(tensor.shape) in single else tensor


def _finite(samples: Tensor, name: str) -> Tensor:
    if not bool(torch.isfinite(samples).all()):
        raise NodeInputError(f"{name} holds NaN or infinite values. The node or file they come from is at fault.")
    return samples
