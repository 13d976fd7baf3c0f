"""A LoRA in the names and the scale that the host's own loader understands."""

from __future__ import annotations

import torch
from torch import Tensor

from .adapter import Adapter
from .errors import LoraError
from .names.table import MODEL, Rows, Target
from .names.text_encoders import HOST_PREFIX
from .reader import Lora
from .suffixes import ALPHA, DIFF_BIAS, DORA, DOWN, MAGNITUDE, UP, UP_BIAS


def to_host_keys(lora: Lora) -> dict[str, Tensor]:
    """The LoRA as a state dict for the host's `comfy.lora.load_lora`, alphas included.

    Split projections are named `transformer.<diffusers>` and everything else `diffusion_model.<native>`, so that the
    host, which knows the model's width and depth, places slices and swapped halves; text encoders are
    `text_encoders.<host name>`. Pairs end in `.lora_down.weight`/`.lora_up.weight` with an explicit 0-d float32
    `.alpha`; PEFT's magnitudes become `.dora_scale` [out, 1] and its biases full-length `.diff_b`. Tensors keep their
    dtype and are shared with `lora`, not copied. Raises LoraError for biases of a layer whose width cannot be told.
    Source of the accepted names: github comfyanonymous/ComfyUI, comfy/lora.py.
    """
    converted: dict[str, Tensor] = {}
    for adapter in lora.adapters:
        name = adapter.target.name
        for kind, tensor in adapter.tensors.items():
            if kind == MAGNITUDE:
                converted[f"{name}.{DORA}"] = tensor.reshape(-1, 1)
            elif kind == DIFF_BIAS:
                _add_bias(lora, converted, adapter, tensor.float())
            elif kind == UP_BIAS:
                _add_bias(lora, converted, adapter, adapter.scale * tensor.float())
            elif kind != ALPHA:
                converted[f"{name}.{kind}"] = tensor
        alpha = _alpha_for_host(adapter)
        if alpha is not None:
            converted[f"{name}.{ALPHA}"] = torch.tensor(alpha, dtype=torch.float32)
    return converted


def bias_name(target: Target) -> str:
    """The host's name for a change of the bias beside a weight: always the native name, also for a slice."""
    return f"{target.weight if target.part == MODEL else HOST_PREFIX + target.weight}.{DIFF_BIAS}"


def place_rows(target: Target, values: Tensor, width_in: int | None = None) -> Tensor:
    """Put the rows of a split projection where the fused weight has them, zeros elsewhere; swap halves where needed.

    `values`: [rows, …]; `width_in`: columns of the weight, which tell the short modulation of a last block (2 widths).
    Returns [all rows, …]. Raises ValueError when the rows are not a whole number of model widths.
    """
    if target.swap == "always" or (target.swap == "last block" and width_in and values.shape[0] == 2 * width_in):
        values = torch.cat(values.chunk(2, dim=0)[::-1], dim=0)
    if target.rows is None:
        return values
    start, total = row_span(target.rows, values.shape[0])
    placed = values.new_zeros(total, *values.shape[1:])
    placed[start : start + values.shape[0]] = values
    return placed


def row_span(rows: Rows, height: int) -> tuple[int, int]:
    """First row and total rows of the fused weight for a slice of `height` rows; ValueError when they do not divide."""
    width, rest = divmod(height, rows.count)
    if rest:
        raise ValueError(f"{height} rows are not {rows.count} model widths")
    return rows.start * width, rows.total * width


def _add_bias(lora: Lora, converted: dict[str, Tensor], adapter: Adapter, bias: Tensor) -> None:
    down = adapter.tensors.get(DOWN)
    try:
        placed = place_rows(adapter.target, bias.reshape(-1), None if down is None else down.shape[1])
    except ValueError as error:
        raise LoraError(f"bias: {error}", path=lora.path, keys=[adapter.module], remedy="Check the family") from error
    name = bias_name(adapter.target)
    converted[name] = converted[name] + placed if name in converted else placed


def _alpha_for_host(adapter: Adapter) -> float | None:
    """Alpha to write; a pair always gets one, other algorithms only what is known (the host then uses scale 1)."""
    if adapter.alpha is not None:
        return adapter.alpha
    return float(adapter.rank) if UP in adapter.tensors and adapter.rank is not None else None
