"""Attention in slices of queries, through ComfyUI's attention override."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import comfy.ldm.modules.attention
import torch
from torch import Tensor

from ...errors import NodeInputError

#: Name of the override in transformer_options (ComfyUI before 0.3.51 does not know it).
OVERRIDE: Final = "optimized_attention_override"


def can_slice() -> bool:
    """Whether the running ComfyUI lets its attention be overridden."""
    return hasattr(comfy.ldm.modules.attention, "wrap_attn")


def slice_attention(transformer_options: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a copy of `transformer_options` whose attention takes `size` queries at a time.

    An override in it stays in use. Every query attends to all keys as before, so the result differs by no more than
    float rounding. Raises NodeInputError when ComfyUI has no attention override.
    """
    if not can_slice():
        raise NodeInputError("This ComfyUI cannot slice attention. Update it, or choose another mode.")
    return {**transformer_options, OVERRIDE: _Slices(size, transformer_options.get(OVERRIDE))}


class _Slices:
    """The override. ComfyUI calls it as (attention function, q, k, v, heads, mask, …)."""

    def __init__(self, size: int, inner: Callable[..., Tensor] | None) -> None:
        self.size = size
        self.inner = inner

    def __call__(
        self, function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:  # fmt: skip
        """Attention of q [B, N, heads * D] (or [B, heads, N, D] with skip_reshape) to k and v."""
        axis = 2 if options.get("skip_reshape") else 1
        out_axis = 2 if options.get("skip_output_reshape") else 1
        attend = function if self.inner is None else functools.partial(self.inner, function)
        tokens = q.shape[axis]
        slices = []
        for start in range(0, tokens, self.size):
            length = min(self.size, tokens - start)
            own = mask
            if mask is not None and mask.ndim >= 2 and mask.shape[-2] == tokens:
                own = mask.narrow(-2, start, length)
            slices.append(attend(q.narrow(axis, start, length), k, v, heads, mask=own, **options))
        return slices[0] if len(slices) == 1 else torch.cat(slices, dim=out_axis)
