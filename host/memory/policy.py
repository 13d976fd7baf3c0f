"""A memory policy for MODEL, CLIP and VAE, through ComfyUI's own model management.

A MODEL is patched in a clone; a CLIP or VAE gets an object in front of ComfyUI's own, which stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import comfy.patcher_extension

from ...errors import NodeInputError
from ...families.profile import MEMORY_MODES
from ..notice import announce
from ..patchers import MANAGED, manages_itself
from .attention import slice_attention
from .residency import outer_sample_alone, prepare_streamed, release_others

MODES: Final = ("auto", *MEMORY_MODES)

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
              because ComfyUI has no way to ask for more; so is a MODEL whose memory ComfyUI manages itself, and the
              node says so.
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
    if streamed and manages_itself(model):
        announce("EriMemoryPolicy", f"{MANAGED}: sequential is offload here.")
    elif streamed:
        clone.add_wrapper_with_key(kinds.PREPARE_SAMPLING, _KEY, prepare_streamed)
    return clone


def _sliced(model: Any, size: int) -> Any:
    clone = model.clone()
    clone.model_options["transformer_options"] = slice_attention(clone.model_options["transformer_options"], size)
    return clone


class _Delegate:
    """Everything that is not defined here belongs to the inner object: reading, calling and setting."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # not yet there while an object is being copied
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)


class _Offloaded(_Delegate):
    """It has its device to itself: other models are moved off before one of `_RUNS` is called."""

    _RUNS: frozenset[str]

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return functools.partial(self._alone, found) if name in self._RUNS else found

    def _alone(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        patcher = self._inner.patcher
        release_others([patcher], patcher.load_device)
        return method(*args, **kwargs)


class OffloadedCLIP(_Offloaded):
    """A CLIP that is alone when it encodes."""

    _RUNS = frozenset(("encode", "encode_from_tokens", "encode_from_tokens_scheduled"))

    def clone(self, *args: Any, **kwargs: Any) -> OffloadedCLIP:
        return OffloadedCLIP(self._inner.clone(*args, **kwargs))


class OffloadedVAE(_Offloaded):
    """A VAE that is alone when it decodes or encodes."""

    _RUNS = frozenset(("decode", "decode_tiled", "encode", "encode_tiled"))


class TiledVAE(_Delegate):
    """A VAE that decodes and encodes in tiles of `tile` pixels, as VAEDecodeTiled and VAEEncodeTiled do.

    A picture that fits into one tile is done whole, and is then exact. The overlap is the stock nodes' 64 pixels, at
    most a quarter of a tile.
    """

    def __init__(self, inner: Any, tile: int) -> None:
        super().__init__(inner)
        object.__setattr__(self, "_tile", tile)
        object.__setattr__(self, "_overlap", min(64, tile // 4))

    def decode(self, samples: Any, *args: Any, **kwargs: Any) -> Any:
        ratio = self._inner.spacial_compression_decode()
        size = self._tile // ratio
        if max(samples.shape[-2:]) <= size:
            return self._inner.decode(samples, *args, **kwargs)
        return self._inner.decode_tiled(samples, tile_x=size, tile_y=size, overlap=self._overlap // ratio)

    def encode(self, pixels: Any, *args: Any, **kwargs: Any) -> Any:
        if max(pixels.shape[-3:-1]) <= self._tile:
            return self._inner.encode(pixels, *args, **kwargs)
        tile = self._tile
        return self._inner.encode_tiled(pixels, tile_x=tile, tile_y=tile, overlap=self._overlap)
