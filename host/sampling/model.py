"""What a trainer runs otherwise in the model itself, as object patches of a cloned MODEL."""

from __future__ import annotations

from typing import Any, Final

from ...errors import NodeInputError
from ..family import class_of

PUBLISHED: Final = "as published"
SWAPPED: Final = "heads and head size swapped"
#: Words for the second self-attention (attn2) of SD 3.5 Medium.
SECOND_ATTENTION: Final = (PUBLISHED, SWAPPED)


def trainers_model(model: Any, second_attention: str = PUBLISHED) -> Any:
    """Return a clone of `model` that runs as the trainer's does; the model itself where nothing is otherwise.

    Args:
        model: a MODEL.
        second_attention: one of SECOND_ATTENTION. Swapped, SD 3.5 Medium runs its second self-attentions in 64 heads of
            24 instead of 24 of 64, as sd-scripts does. A model without one, as SD 3.5 Large is, runs as it is.

    Raises NodeInputError for another word, and for swapped heads in a model that is not SD 3.5.
    """
    if second_attention not in SECOND_ATTENTION:
        known = ", ".join(SECOND_ATTENTION)
        raise NodeInputError(f"second_attention is {second_attention!r}. Choose one of: {known}.")
    if second_attention == PUBLISHED:
        return model
    blocks = getattr(model.model.diffusion_model, "joint_blocks", None)
    if blocks is None:
        raise NodeInputError(
            f"second_attention is {SWAPPED!r}, but only SD 3.5 Medium has such attention, and this model is "
            f"{class_of(model)}. Set it to {PUBLISHED!r}, or connect SD 3.5."
        )
    clone = model.clone()
    for number, block in enumerate(blocks):
        attention = getattr(block.x_block, "attn2", None)
        if attention is not None:
            name = f"diffusion_model.joint_blocks.{number}.x_block.attn2.num_heads"
            clone.add_object_patch(name, attention.head_dim)
    return clone
