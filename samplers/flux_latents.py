"""Flux's token layout: 2×2 patches of the latent, and the position ids that go with them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from . import _checks


class Tokens(NamedTuple):
    """A packed latent: `tokens` `[B, ceil(height / 2) * ceil(width / 2), 4C]`, and the latent's own size."""

    tokens: Tensor
    height: int
    width: int


def patchify(latent: Tensor) -> Tokens:
    """Pack a latent `[B, C, H, W]` into Flux tokens of 2×2 cells.

    An odd height or width is first padded circularly to even, at the bottom or right, as in ComfyUI. `unpatchify` with
    the returned size crops it again, so the round trip is exact.

    Raises ValueError for another rank or dtype.
    Source: black-forest-labs/flux, sampling.py, `prepare`; comfy/ldm/flux/model.py `process_img`.
    """
    image = _checks.tensor("latent", latent)
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        image = F.pad(image, (0, width % 2, 0, height % 2), mode="circular")
    batch, channels, rows, columns = image.shape
    cells = image.reshape(batch, channels, rows // 2, 2, columns // 2, 2)  # b c h ph w pw
    tokens = cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)  # b (h w) (c ph pw)
    return Tokens(tokens.clone() if _shares(tokens, latent) else tokens, height, width)


def unpatchify(tokens: Tensor | Tokens, height: int, width: int) -> Tensor:
    """Unpack Flux tokens of 2×2 cells into a latent `[B, C, height, width]`.

    Args:
        tokens: `[B, ceil(height / 2) * ceil(width / 2), 4C]`, or what `patchify` returned.
        height: the latent's height in cells.
        width: the latent's width in cells.

    Raises ValueError if the number of tokens does not belong to that size, or a token's width is no multiple of 4.
    Source: black-forest-labs/flux, sampling.py, `unpack`.
    """
    packed = _checks.tensor("tokens", tokens.tokens if isinstance(tokens, Tokens) else tokens, rank=3)
    rows = (_checks.integer("height", height, 1) + 1) // 2
    columns = (_checks.integer("width", width, 1) + 1) // 2
    count, depth = packed.shape[1:]
    if count != rows * columns:
        raise ValueError(f"tokens: a latent of {height}×{width} has {rows}·{columns} tokens, got {count}")
    if depth % 4:
        raise ValueError(f"tokens: a token holds 2×2 cells, so its width is a multiple of 4; got {depth}")
    cells = packed.reshape(-1, rows, columns, depth // 4, 2, 2)  # b h w c ph pw
    latent = cells.permute(0, 3, 1, 4, 2, 5).reshape(-1, depth // 4, rows * 2, columns * 2)  # b c (h ph) (w pw)
    latent = latent[:, :, :height, :width]
    return latent.clone(memory_format=torch.contiguous_format) if _shares(latent, packed) else latent.contiguous()


def to_patches(tokens: Tensor, height: int, width: int) -> Tensor:
    """Lay tokens `[B, N, 4C]` out in rows and columns: `[B, 4C, ceil(height / 2), ceil(width / 2)]`.

    height, width: of the latent, in cells.
    """
    return rearrange(tokens, "b (h w) c -> b c h w", h=(height + 1) // 2, w=(width + 1) // 2).contiguous()


def from_patches(patches: Tensor) -> Tensor:
    """Take rows and columns `[B, 4C, h, w]` as tokens `[B, h * w, 4C]`."""
    return rearrange(patches, "b c h w -> b (h w) c").contiguous()


def image_ids(height: int, width: int, batch: int = 1, index: int = 0) -> Tensor:
    """Return the position ids of an image's tokens, `[index, row, column]`.

    Args:
        height: the latent's height in cells.
        width: the latent's width in cells.
        batch: the number of images, at least 1.
        index: 0 for the picture itself and 1, 2, … for reference pictures; never the position in the batch.

    Returns float32 `[batch, ceil(height / 2) * ceil(width / 2), 3]`.

    Raises ValueError for a size or batch < 1 or a negative index.
    Source: black-forest-labs/flux, sampling.py, `prepare`; comfy/ldm/flux/model.py `process_img`.
    """
    rows = (_checks.integer("height", height, 1) + 1) // 2
    columns = (_checks.integer("width", width, 1) + 1) // 2
    count = _checks.integer("batch", batch, 1)
    ids = torch.zeros(rows, columns, 3)
    ids[..., 0] = _checks.integer("index", index, 0)
    ids[..., 1] = torch.arange(rows, dtype=torch.float32)[:, None]
    ids[..., 2] = torch.arange(columns, dtype=torch.float32)
    return rearrange(ids, "h w axes -> 1 (h w) axes").repeat(count, 1, 1)


def text_ids(length: int, batch: int = 1) -> Tensor:
    """Return the position ids of text tokens, all zero: float32 `[batch, length, 3]`.

    Raises ValueError for a negative length or a batch < 1.
    Source: black-forest-labs/flux, sampling.py, `prepare`.
    """
    return torch.zeros(_checks.integer("batch", batch, 1), _checks.integer("length", length, 0), 3)


def _shares(first: Tensor, second: Tensor) -> bool:
    """Return whether both tensors are views of the same memory, which rearranging a latent of 2×2 cells gives."""
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
