"""A memory policy for MODEL, CLIP and VAE, as patches of clones and through ComfyUI's own model management."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import comfy.patcher_extension

from ...errors import NodeInputError
from .attention import slice_attention
from .delegates import OffloadedCLIP, OffloadedVAE, TiledVAE
from .residency import outer_sample_alone, prepare_streamed

MODES: Final = ("auto", "offload", "sequential", "attention slicing", "VAE tiling")

_KEY: Final = "eridiffusion_memory"


class Models(NamedTuple):
    """The models on which a policy acts; each may be None."""

    model: Any
    clip: Any
    vae: Any


def apply_policy(models: Models, mode: str, slice_size: int = 1024, tile_size: int = 512) -> Models:
    """Return the models with a policy. The given objects stay as they are, and several policies in a row add up.

    Args:
        models: the MODEL, CLIP and VAE. One on which the mode does not act is returned as it is.
        mode: one of these:

            - "auto": ComfyUI decides.
            - "offload": a model has its device to itself; others are moved off before it runs.
            - "sequential": the MODEL's weights come over layer by layer. CLIP and VAE are handled as in "offload",
              because ComfyUI has no way to ask for more.
            - "attention slicing": the MODEL's attention takes slice_size queries at a time.
            - "VAE tiling": the VAE works in tiles of tile_size pixels.

        slice_size: queries per slice.
        tile_size: pixels per tile.

    Raises NodeInputError when nothing is connected, for an unknown mode, and when ComfyUI cannot do it.
    """
    if models == Models(None, None, None):
        raise NodeInputError("EriMemoryPolicy has nothing to work on. Connect a model, a clip or a vae.")
    model, clip, vae = models
    if mode == "auto":
        return models
    if mode in ("offload", "sequential"):
        return Models(
            model if model is None else _resident(model, streamed=mode == "sequential"),
            clip if clip is None else OffloadedCLIP(clip),
            vae if vae is None else OffloadedVAE(vae),
        )
    if mode == "attention slicing":
        return Models(model if model is None else _sliced(model, slice_size), clip, vae)
    if mode == "VAE tiling":
        return Models(model, clip, vae if vae is None else TiledVAE(vae, tile_size))
    raise NodeInputError(f"mode is {mode}. Choose one of {', '.join(MODES)}.")


def _resident(model: Any, streamed: bool) -> Any:
    kinds = comfy.patcher_extension.WrappersMP
    clone = model.clone()
    clone.add_wrapper_with_key(kinds.OUTER_SAMPLE, _KEY, outer_sample_alone)
    if streamed:
        clone.add_wrapper_with_key(kinds.PREPARE_SAMPLING, _KEY, prepare_streamed)
    return clone


def _sliced(model: Any, size: int) -> Any:
    clone = model.clone()
    clone.model_options["transformer_options"] = slice_attention(clone.model_options["transformer_options"], size)
    return clone
