"""CLIP and VAE that run in another way: an object in front of ComfyUI's own, which stays as it is."""

from __future__ import annotations

from typing import Any

from .residency import release_others


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

    def _alone(self, method: str, *args: Any, **kwargs: Any) -> Any:
        patcher = self._inner.patcher
        release_others([patcher], patcher.load_device)
        return getattr(self._inner, method)(*args, **kwargs)


class OffloadedCLIP(_Delegate):
    """A CLIP that has its device to itself: other models are moved off before it encodes."""

    def clone(self, *args: Any, **kwargs: Any) -> OffloadedCLIP:
        return OffloadedCLIP(self._inner.clone(*args, **kwargs))

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("encode", *args, **kwargs)

    def encode_from_tokens(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("encode_from_tokens", *args, **kwargs)

    def encode_from_tokens_scheduled(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("encode_from_tokens_scheduled", *args, **kwargs)


class OffloadedVAE(_Delegate):
    """A VAE that has its device to itself: other models are moved off before it decodes or encodes."""

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("decode", *args, **kwargs)

    def decode_tiled(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("decode_tiled", *args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("encode", *args, **kwargs)

    def encode_tiled(self, *args: Any, **kwargs: Any) -> Any:
        return self._alone("encode_tiled", *args, **kwargs)


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
