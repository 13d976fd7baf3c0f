"""Gives a LoRA the names and the scale that ComfyUI's own loader understands."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import LoraError
from .adapter import Adapter, lycoris_factor
from .names.table import MODEL, Target, row_span
from .names.text_encoders import HOST_PREFIX
from .reader import Lora
from .suffixes import ALPHA, DIFF_BIAS, DORA, DOWN, MAGNITUDE, OFT, RESHAPE, UP, UP_BIAS


def to_host_keys(lora: Lora) -> dict[str, Tensor]:
    """Return the LoRA as a state dict for ComfyUI's `comfy.lora.load_lora`, alphas included.

    Split projections are named `transformer.<diffusers>`, and everything else `diffusion_model.<native>`. ComfyUI knows
    the model's width and depth, so it places slices and swapped halves. Text encoders are `text_encoders.<ComfyUI's
    name>`. Pairs end in `.lora_down.weight` and `.lora_up.weight` with an explicit 0-d float32 `.alpha`. Magnitudes
    become `.dora_scale` [out, 1] or [1, in] (rows in ComfyUI's order), and PEFT's biases full-length `.diff_b`. Tensors
    keep their dtype and are shared with `lora`, not copied.

    Raises LoraError for biases of a layer of unknown width.
    Source of the accepted names: github comfyanonymous/ComfyUI, comfy/lora.py.
    """
    converted: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for adapter in lora.adapters:
        name = adapter.target.name
        for kind, tensor in _for_host(adapter).items():
            if kind in (MAGNITUDE, DORA):
                converted[f"{name}.{DORA}"] = host_magnitude(adapter)
            elif kind == DIFF_BIAS:
                _add_bias(lora, converted, adapter, tensor.float())
            elif kind == UP_BIAS:
                _add_bias(lora, converted, adapter, adapter.scale * tensor.float())
            elif kind not in (ALPHA, RESHAPE):
                converted[f"{name}.{kind}"] = tensor
        if adapter.widened is not None:
            converted[f"{name}.{RESHAPE}"] = torch.tensor(adapter.widened)
        alpha = _alpha_for_host(adapter)
        if alpha is not None:
            alphas[f"{name}.{ALPHA}"] = alpha
    values = torch.tensor(list(alphas.values()), dtype=torch.float32).unbind()  # one tensor: far fewer calls
    return {**converted, **dict(zip(alphas, values, strict=True))}


def _for_host(adapter: Adapter) -> Mapping[str, Tensor]:
    """The adapter's tensors by kind. A LoKr with a Tucker core is multiplied out, because ComfyUI fails on it.

    (ComfyUI's Kronecker product of the core's transposed result raises under current torch, and ComfyUI only logs the
    error.)
    """
    tensors = adapter.tensors
    if "lokr_t2" not in tensors:
        return tensors
    own = {kind: tensor.float() for kind, tensor in tensors.items()}
    second = (adapter.scale * lycoris_factor(own, "lokr_w2", "lokr_t2")).contiguous()
    rest = {kind: tensor for kind, tensor in tensors.items() if not kind.startswith("lokr_")}
    return {**rest, "lokr_w1": lycoris_factor(own, "lokr_w1", ""), "lokr_w2": second}


def host_magnitude(adapter: Adapter) -> Tensor:
    """A DoRA's magnitude as ComfyUI broadcasts it: [out, 1, …] or [1, in, …], rows in ComfyUI's order.

    PEFT's has one dimension and would act on the wrong axis. ComfyUI swaps the halves of the product itself, but not
    those of the magnitude.
    """
    magnitude = adapter.tensors.get(DORA, adapter.tensors.get(MAGNITUDE))
    if magnitude is None:
        raise KeyError(DORA)
    if MAGNITUDE in adapter.tensors or magnitude.ndim == 1:
        down = adapter.tensors.get(DOWN)
        magnitude = magnitude.reshape(-1, *[1] * (1 if down is None else down.ndim - 1))
    return swap_halves(adapter.target, magnitude, _width_in(adapter)) if magnitude.shape[0] > 1 else magnitude


def _width_in(adapter: Adapter) -> int | None:
    down = adapter.tensors.get(DOWN)
    return None if down is None else down.shape[1]


def bias_name(target: Target) -> str:
    """ComfyUI's name for a change of the bias beside a weight: always the native name, also for a slice."""
    return f"{target.weight if target.part == MODEL else HOST_PREFIX + target.weight}.{DIFF_BIAS}"


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
    """Whether ComfyUI keeps the two halves of these `height` rows in the other order than the file."""
    return target.swap == "always" or (target.swap == "last block" and bool(width_in) and height == 2 * (width_in or 0))


def _add_bias(lora: Lora, converted: dict[str, Tensor], adapter: Adapter, bias: Tensor) -> None:
    try:
        placed = place_rows(adapter.target, bias.reshape(-1), _width_in(adapter))
    except ValueError as error:
        raise LoraError(f"bias: {error}", path=lora.path, keys=[adapter.module], remedy="Check the family") from error
    name = bias_name(adapter.target)
    converted[name] = converted[name] + placed if name in converted else placed


def _alpha_for_host(adapter: Adapter) -> float | None:
    """The alpha to write. A pair always gets one; others only what is known (ComfyUI then uses scale 1)."""
    if adapter.alpha is not None:
        return adapter.alpha
    if OFT in adapter.tensors:
        return 0.0  # no bound on the rotation; ComfyUI's BOFT cannot do without the number
    return float(adapter.rank) if UP in adapter.tensors and adapter.rank is not None else None
