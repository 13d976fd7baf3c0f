"""Converts between arrays of 0..1 and 8-bit pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImagesError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_image(pixels: np.ndarray[Any, Any], rounding: str = "truncate") -> Image.Image:
    """Return an 8-bit picture of a float array.

    Args:
        pixels: [H, W, C] with C in 1, 3, 4, and values in 0..1 (others are clipped).
        rounding: "truncate" (as ComfyUI's own saver) or "round" (to nearest, as diffusers and most Python trainers).
            They differ by at most one level.

    Raises ImagesError for another shape, NaN or infinite values, or an unknown rounding.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in _MODES or 0 in pixels.shape:
        raise ImagesError(f"An image must be [height, width, 1, 3 or 4 channels], got {list(pixels.shape)}.")
    if rounding not in ("truncate", "round"):
        raise ImagesError(f'rounding must be "truncate" or "round", got {rounding!r}.')
    if not np.isfinite(pixels).all():
        raise ImagesError(
            "The image holds NaN or infinite values. The VAE probably overflowed in half precision: "
            "start ComfyUI with --fp32-vae or --bf16-vae."
        )
    scaled = pixels.astype(np.float32) * 255.0
    scaled = np.rint(scaled) if rounding == "round" else scaled
    levels = np.clip(scaled, 0, 255).astype(np.uint8)
    return Image.fromarray(levels[:, :, 0] if pixels.shape[2] == 1 else levels)


def to_array(image: Image.Image) -> np.ndarray[Any, Any]:
    """Return float32 [H, W, 3] in 0..1 of any picture, with transparency on white."""
    return np.asarray(on_white(image), dtype=np.float32) / 255.0


def on_white(image: Image.Image) -> Image.Image:
    """Return an RGB picture of any other, with transparency on white."""
    if image.mode not in ("RGBA", "LA", "P", "PA"):
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("RGB")
