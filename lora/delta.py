"""The change that a LoRA makes to each of the host's weights, computed without the host: for checks, small models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .adapter import Adapter
from .convert import place_rows, row_span
from .errors import LoraError
from .reader import Lora
from .suffixes import DIFF, DIFF_BIAS, DORA, DOWN, MAGNITUDE, MID, UP, UP_BIAS


def merged_delta(lora: Lora, strength: float = 1.0, base: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The sum that the LoRA adds to each host weight, by the weight's name in the host.

    `strength`: any float. `base`: the host's weights by name (`diffusion_model.….weight`, `clip_l.….weight`), needed
    for DoRA, whose change depends on them. Returns float32 tensors of the whole weight's shape; slices of a fused
    weight are put together, zeros elsewhere. Plain pairs: strength · alpha / rank · up @ down (Hu et al. 2021, eq. 3).
    DoRA follows the host: magnitude · (W + change) / norm, the norm per row of W or per column of W + change, and the
    result is W + strength · (W' - W) (github comfyanonymous/ComfyUI, comfy/weight_adapter/base.py `weight_decompose`).
    Raises LoraError for DoRA without its base weight, for shapes that do not fit it, and for decompositions that are
    not computed here.
    """
    deltas: dict[str, Tensor] = {}
    for adapter in lora.adapters:
        for end, change in _changes(lora, adapter, strength, base).items():
            name = f"{adapter.target.weight}.{end}"
            deltas[name] = deltas[name] + change if name in deltas else change
    return deltas


def weight_change(adapter: Adapter) -> Tensor | None:
    """The unscaled change of the adapter's own rows, float32; None when it changes no weight (a bias only).

    [out, in] for linear layers, [out, in, kh, kw] for convolutions. Raises NotImplementedError for Tucker-decomposed
    LoHa and LoKr.
    """
    tensors = {kind: tensor.float() for kind, tensor in adapter.tensors.items()}
    if UP in tensors:
        up, down = tensors[UP], tensors[DOWN]
        if MID in tensors:
            return torch.einsum("oa...,abhw,bi...->oihw", up.flatten(1), tensors[MID], down.flatten(1))
        return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
    if DIFF in tensors:
        return tensors[DIFF]
    if "hada_t1" in tensors or "lokr_t2" in tensors:
        raise NotImplementedError("Tucker-decomposed LoHa or LoKr")
    if "hada_w1_a" in tensors:
        return (tensors["hada_w1_a"] @ tensors["hada_w1_b"]) * (tensors["hada_w2_a"] @ tensors["hada_w2_b"])
    if any(kind.startswith("lokr") for kind in tensors):
        return _kronecker(tensors)
    return None


def _kronecker(tensors: Mapping[str, Tensor]) -> Tensor:
    first, second = (
        tensors[f"lokr_{w}"] if f"lokr_{w}" in tensors else tensors[f"lokr_{w}_a"] @ tensors[f"lokr_{w}_b"]
        for w in ("w1", "w2")
    )
    return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - first.ndim)), second)


def _changes(lora: Lora, adapter: Adapter, strength: float, base: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Placed changes of one adapter by parameter: "weight" and, where the file has one, "bias"."""
    try:
        change = weight_change(adapter)
        down = adapter.tensors.get(DOWN)
        width_in = None if down is None else down.shape[1]
        changes = {}
        if change is not None:
            changes["weight"] = _placed_weight(lora, adapter, adapter.scale * change, strength, base, width_in)
        for kind, factor in ((UP_BIAS, adapter.scale), (DIFF_BIAS, 1.0)):
            if kind in adapter.tensors:
                bias = strength * factor * adapter.tensors[kind].float().reshape(-1)
                changes["bias"] = place_rows(adapter.target, bias, width_in)
    except NotImplementedError as error:
        raise LoraError(f"{error} is not merged here", path=lora.path, keys=[adapter.module]) from error
    except (ValueError, RuntimeError) as error:
        raise LoraError(
            f"does not fit {adapter.target.weight}: {error}", path=lora.path, keys=[adapter.module]
        ) from error
    return changes


def _placed_weight(
    lora: Lora,
    adapter: Adapter,
    change: Tensor,
    strength: float,
    base: Mapping[str, Tensor] | None,
    width_in: int | None,
) -> Tensor:
    magnitude = adapter.tensors.get(DORA, adapter.tensors.get(MAGNITUDE))
    weight = None if base is None else base.get(f"{adapter.target.weight}.weight")
    if magnitude is None:
        placed = strength * place_rows(adapter.target, change, width_in)
        return placed if weight is None else placed.reshape(weight.shape)
    if weight is None:
        raise LoraError(
            "needs base: a DoRA's change depends on the weight it is added to",
            path=lora.path,
            keys=[adapter.module],
            remedy=f"Pass base with '{adapter.target.weight}.weight'",
        )
    if adapter.target.swap != "never":
        change = place_rows(adapter.target, change, width_in)
    if MAGNITUDE in adapter.tensors:
        magnitude = magnitude.reshape(-1, 1)
    placed = torch.zeros(weight.shape, dtype=torch.float32)
    rows = adapter.target.rows
    start = 0 if rows is None else row_span(rows, change.shape[0])[0]
    part = weight.float()[start : start + change.shape[0]]
    placed[start : start + change.shape[0]] = strength * _dora_change(
        part, change.reshape(part.shape), magnitude.float()
    )
    return placed


def _dora_change(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """W' - W as the host computes W': per row it divides by the norm of W, per column by that of W + change."""
    changed = weight + change
    if magnitude.shape[0] == changed.shape[0]:
        norm = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
    else:
        columns = changed.transpose(0, 1)
        norm = columns.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1)).transpose(0, 1)
    return changed * (magnitude / (norm + torch.finfo(torch.float32).eps)) - weight
