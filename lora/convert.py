"""Gives a LoRA the names and the scale that ComfyUI's own loader understands."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import LoraError
from .adapter import Adapter, lycoris_factor
from .names.table import MODEL, Target
from .names.text_encoders import HOST_PREFIX
from .reader import Lora
from .rows import place_rows, swap_halves
from .suffixes import ALPHA, DIFF_BIAS, DORA, DOWN, MAGNITUDE, OFT, RESCALE, RESHAPE, UP, UP_BIAS


def to_host_keys(lora: Lora) -> dict[str, Tensor]:
    """Return the LoRA as a state dict for ComfyUI's `comfy.lora.load_lora`, alphas included.

    Split projections are named `transformer.<diffusers>`, and everything else `diffusion_model.<native>`. ComfyUI knows
    the model's width and depth, so it places slices and swapped halves. Text encoders are `text_encoders.<ComfyUI's
    name>`. Pairs end in `.lora_down.weight` and `.lora_up.weight` with an explicit 0-d float32 `.alpha`. Magnitudes
    become `.dora_scale` [out, 1] or [1, in] (rows in ComfyUI's order), and PEFT's biases full-length `.diff_b`. Tensors
    keep their dtype and are shared with `lora`, not copied.

    Raises LoraError for biases of a layer of unknown width, and for an OFT that ComfyUI would apply wrongly.
    Source of the accepted names: github comfyanonymous/ComfyUI, comfy/lora.py.
    """
    converted: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for adapter in lora.adapters:
        name = adapter.target.name
        for kind, tensor in _for_host(lora, adapter).items():
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


def _for_host(lora: Lora, adapter: Adapter) -> Mapping[str, Tensor]:
    """The adapter's tensors by kind, in a form that ComfyUI applies rightly.

    A LoKr with a Tucker core is multiplied out, because ComfyUI fails on it. (ComfyUI's Kronecker product of the core's
    transposed result raises under current torch, and ComfyUI only logs the error.) An OFT with a trained rescale
    becomes a BOFT of one stage, because ComfyUI leaves the rescale out of an OFT.
    """
    tensors = adapter.tensors
    if "lokr_t2" in tensors:
        own = {kind: tensor.float() for kind, tensor in tensors.items()}
        second = (adapter.scale * lycoris_factor(own, "lokr_w2", "lokr_t2")).contiguous()
        rest = {kind: tensor for kind, tensor in tensors.items() if not kind.startswith("lokr_")}
        return {**rest, "lokr_w1": lycoris_factor(own, "lokr_w1", ""), "lokr_w2": second}
    if RESCALE in tensors and OFT in tensors and tensors[OFT].ndim == 3:
        blocks = tensors[OFT]
        if blocks.shape[-1] % 2:  # BOFT's blocks have halves: two together are one block
            if len(blocks) % 2:
                raise LoraError(
                    f"has OFT with a trained rescale in {len(blocks)} blocks of {blocks.shape[-1]} rows, which ComfyUI "
                    "cannot apply",
                    path=lora.path,
                    keys=[adapter.module],
                    remedy="Train with blocks of an even size",
                )
            blocks = torch.stack([torch.block_diag(*pair) for pair in blocks.unflatten(0, (-1, 2))])
        size = blocks.shape[-1]
        # BOFT turns each block's rows in this order, and by the transposed of OFT's rotation
        order = torch.arange(size).reshape(2, -1).T.flatten()
        return {**tensors, OFT: blocks.transpose(-1, -2)[:, order][:, :, order].contiguous()[None]}
    return tensors


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
    return swap_halves(adapter.target, magnitude, adapter.columns) if magnitude.shape[0] > 1 else magnitude


def bias_name(target: Target) -> str:
    """ComfyUI's name for a change of the bias beside a weight: always the native name, also for a slice."""
    return f"{target.weight if target.part == MODEL else HOST_PREFIX + target.weight}.{DIFF_BIAS}"


def _add_bias(lora: Lora, converted: dict[str, Tensor], adapter: Adapter, bias: Tensor) -> None:
    try:
        placed = place_rows(adapter.target, bias.reshape(-1), adapter.columns or lora.width)
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
