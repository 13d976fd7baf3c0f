"""A memory policy for MODEL, CLIP and VAE, as patches of clones and through the host's own model management."""

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
    """What a policy acts on; each may be None."""

    model: Any
    clip: Any
    vae: Any


def apply_policy(models: Models, mode: str, slice_size: int = 1024, tile_size: int = 512) -> Models:
    """The models with a policy; the given objects stay as they are. Policies one after another add up.

    mode: "auto": the host decides. "offload": a model has its device to itself: others are moved off before it runs.
    "sequential": the MODEL's weights come over layer by layer; CLIP and VAE as in "offload", for the host has no way to
    ask for that. "attention slicing": the MODEL's attention takes slice_size queries at a time. "VAE tiling": the VAE
    works in tiles of tile_size pixels. A kind of model that a mode does not concern is handed on. Raises NodeInputError
    when nothing is connected, for an unknown mode, and where the host cannot do it.
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
