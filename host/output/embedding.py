"""What a CLIP vision model made of a picture, as numbers that a program can compare."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import NodeInputError


def embedding_of(encoded: Any) -> list[float]:
    """The embedding of the one picture in a CLIP_VISION_OUTPUT, of length 1.

    Raises NodeInputError for several pictures, and for numbers that have no direction.
    """
    embeds = encoded["image_embeds"]
    if embeds.ndim != 2 or embeds.shape[0] != 1:
        raise NodeInputError(
            f"embedding holds {list(embeds.shape)}: one picture was expected", remedy="Encode one picture at a time."
        )
    vector = embeds[0].detach().cpu().to(torch.float64)
    length = vector.norm()
    if not torch.isfinite(length) or length == 0:
        raise NodeInputError(
            "embedding holds NaN, infinite or only zero values", remedy="Take another CLIP vision model, or picture."
        )
    values: list[float] = (vector / length).tolist()
    return values
