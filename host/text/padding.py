"""What becomes of the padding behind a T5 prompt: who sees it, and how much of it the model gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

#: "all": T5 sees all padding and the model gets it (Flux, SD 3.5). Chroma's model gets one padding token, and T5 sees
#: "one" (OneTrainer), none ("one unseen": Chroma's author, kohya) or all ("one of all": ai-toolkit). "weighted": T5
#: sees none, the model gets all, with attention scores 1 lower than the prompt's (diffusers, SimpleTuner).
PADDINGS: Final = ("all", "one", "one unseen", "one of all", "weighted")
_END: Final = 1
#: Pixels of an image token's side.
_TOKEN: Final = 16

Chunk = list[tuple[Any, ...]]


def used_tokens(chunk: Chunk) -> int:
    """How many of a chunk's tokens Chroma's model gets: up to the last end token, and one padding token if there is."""
    ends = [place for place, item in enumerate(chunk) if not torch.is_tensor(item[0]) and item[0] == _END]
    return min(ends[-1] + 2, len(chunk)) if ends else len(chunk)


def cut_tokens(chunks: list[Chunk], padding: str) -> list[Chunk]:
    """The tokens that T5 is given, of those padded to the full length."""
    return [chunk[: used_tokens(chunk)] for chunk in chunks] if padding in ("one", "one unseen") else chunks


@contextmanager
def unseen_padding(clip: Any, padding: str) -> Iterator[None]:
    """A CLIP whose T5 masks padding while this lasts, where `padding` asks for that."""
    encoder = clip.cond_stage_model.t5xxl if padding in ("one unseen", "weighted") else None
    if encoder is None:
        yield
        return
    before = encoder.enable_attention_masks
    encoder.enable_attention_masks = True
    try:
        yield
    finally:
        encoder.enable_attention_masks = before


def with_padding(entry: list[Any], used: int, padding: str, width: int, height: int) -> list[Any]:
    """A conditioning as Chroma's model gets it.

    Args:
        entry: conditioning [1, L, C] and its options.
        used: tokens that take part, see `used_tokens`.
        width, height: of the picture in pixels.
    """
    cond, extra = entry
    if padding == "one of all":
        return [cond[:, :used], extra]
    if padding == "weighted":
        rows, columns = -(-height // _TOKEN), -(-width // _TOKEN)
        mask = _weights(cond, used, rows * columns)
        return [cond, {**extra, "attention_mask": mask, "attention_mask_img_shape": (rows, columns)}]
    return entry


def _weights(cond: Tensor, used: int, image_tokens: int) -> Tensor:
    """1 between two tokens that take part, else 0, which ComfyUI's attention adds to the scores; [1, N, N]."""
    part = cond.new_ones(cond.shape[1] + image_tokens)
    part[used : cond.shape[1]] = 0
    return (part[:, None] * part[None, :])[None]
