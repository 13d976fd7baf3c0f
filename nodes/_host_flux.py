"""LATENT dictionaries to and from Flux's token layout."""

from __future__ import annotations

from typing import Any

from ..samplers.flux_latents import image_ids, patchify, text_ids, unpatchify
from ._schema import NodeInputError

Latent = dict[str, Any]


def patchify_latent(latent: Latent, text_length: int) -> tuple[Latent, Latent, Latent]:
    """Tokens [B, N, 4C], image ids [B, N, 3] and text ids [B, text_length, 3] of a latent, as LATENT dictionaries."""
    samples = latent["samples"]
    if samples.ndim != 4:
        raise NodeInputError(f"latent must be [B, C, H, W], got {list(samples.shape)}.")
    packed = patchify(samples)
    batch = samples.shape[0]
    ids = image_ids(packed.height, packed.width, batch)
    return {"samples": packed.tokens}, {"samples": ids}, {"samples": text_ids(text_length, batch)}


def unpatchify_latent(tokens: Latent, width: int, height: int) -> Latent:
    """A latent [B, C, height/8, width/8] of tokens [B, N, 4C]; width, height in pixels, rounded up to whole cells."""
    samples = tokens["samples"]
    if samples.ndim != 3:
        raise NodeInputError(f"tokens must be [B, N, 4C], got {list(samples.shape)}. Connect EriFluxPatchify's tokens.")
    return {"samples": unpatchify(samples, -(-height // 8), -(-width // 8))}
