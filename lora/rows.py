"""The rows of a LoRA's tensors in the order and at the place that they have in ComfyUI's weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .adapter import Adapter, glora_is_older
from .names.table import Target, row_span
from .suffixes import DIFF_BIAS, DORA, GLORA, MAGNITUDE, OFT, RESCALE


def place_rows(target: Target, values: Tensor, width_in: int | None = None) -> Tensor:
    """Put the rows of a split projection where the fused weight has them, and zeros elsewhere; swap halves if needed.

    Args:
        target: the place in ComfyUI.
        values: [rows, …].
        width_in: the columns of the weight, which show the short modulation of a last block (2 widths).

    Returns [all rows, …]. Raises ValueError when the rows are not a whole number of model widths.
    """
    values = swap_halves(target, values, width_in)
    if target.rows is None:
        return values
    start, total = row_span(target.rows, values.shape[0])
    placed = values.new_zeros(total, *values.shape[1:])
    placed[start : start + values.shape[0]] = values
    return placed


def swap_halves(target: Target, values: Tensor, width_in: int | None = None) -> Tensor:
    """Exchange the two halves of the rows when ComfyUI keeps them in the other order (arguments as in `place_rows`)."""
    return torch.cat(values.chunk(2, dim=0)[::-1], dim=0) if is_swapped(target, values.shape[0], width_in) else values


def is_swapped(target: Target, height: int, width_in: int | None) -> bool:
    """Whether ComfyUI keeps the two halves of these `height` rows in the other order than the file.

    Raises ValueError where the columns of the weight are needed and None.
    """
    if target.swap == "last block" and width_in is None:
        raise ValueError("nothing in the file tells whether this is the last block, whose halves are exchanged")
    return target.swap == "always" or (target.swap == "last block" and height == 2 * (width_in or 0))


def in_host_order(adapter: Adapter, width_in: int | None) -> Adapter:
    """An adapter whose change depends on its weight, with its rows as ComfyUI has them; others as they are.

    ComfyUI computes such a change from its own weight and then exchanges the halves of the result, which is another
    change. Raises ValueError for rotations that reach over the middle, and as `is_swapped`.
    """
    target = adapter.target
    if target.swap == "never" or not {OFT, GLORA[0]} & adapter.tensors.keys():
        return adapter
    area, tensors = adapter.area, dict(adapter.tensors)
    if area is None or not is_swapped(target, area.rows, width_in):
        return adapter
    if OFT in tensors and (tensors[OFT].ndim != 3 or tensors[OFT].shape[0] % 2):
        raise ValueError("its rotations reach over the two halves that ComfyUI has in the other order")
    upper = () if OFT in tensors else (GLORA[3] if glora_is_older(_shapes(tensors)) else GLORA[2],)
    for kind in {OFT, RESCALE, DIFF_BIAS, DORA, MAGNITUDE, *upper} & tensors.keys():
        if tensors[kind].shape[0] > 1:
            tensors[kind] = torch.cat(tensors[kind].chunk(2, dim=0)[::-1], dim=0)
    return replace(adapter, target=replace(target, name=target.weight, swap="never"), tensors=tensors)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {kind: tuple(tensor.shape) for kind, tensor in tensors.items()}
