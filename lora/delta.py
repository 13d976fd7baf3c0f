"""The change that a LoRA makes to each of ComfyUI's weights, computed without ComfyUI, for checks and small models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor

from ..errors import LoraError
from .adapter import Adapter, glora_is_older, lycoris_factor
from .convert import host_magnitude
from .names.table import row_span
from .reader import Lora
from .rows import place_rows
from .suffixes import ALPHA, DIFF, DIFF_BIAS, DORA, DOWN, GLORA, MAGNITUDE, MID, OFT, RESCALE, SET, UP, UP_BIAS

_ON_BASE: Final = frozenset({DORA, MAGNITUDE, OFT, SET, *GLORA})


def merged_delta(lora: Lora, strength: float = 1.0, base: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return what the LoRA adds to each weight, by the weight's name in ComfyUI: float32 in the whole weight's shape.

    Slices of a fused weight are put together, with zeros elsewhere; a weight that is widened has its new shape. Without
    `base` a LoHa or LoKr of a convolution stays flat, [out, in · kh · kw]. Plain pairs give strength · alpha / rank ·
    up @ down (Hu et al. 2021, eq. 3). DoRA follows ComfyUI: magnitude · (W + change) / norm, with the norm per row of W
    or per column of W + change, and the result is W + strength · (W' - W) (github comfyanonymous/ComfyUI,
    comfy/weight_adapter/base.py `weight_decompose`). OFT follows ComfyUI too: strength² · (R - 1) W
    (comfy/weight_adapter/oft.py).

    Args:
        lora: the LoRA.
        strength: any float.
        base: ComfyUI's weights by name (`diffusion_model.….weight`, `clip_l.….weight`). DoRA and OFT need it, because
            their change depends on the weights.

    Raises LoraError for DoRA and OFT without their base weight, for shapes that do not fit it, and for what is not
    computed here (DoRA on OFT).
    """
    deltas: dict[str, Tensor] = {}
    for adapter in lora.adapters:
        for end, change in _changes(lora, adapter, strength, base).items():
            name = f"{adapter.target.weight}.{end}"
            deltas[name] = deltas[name] + change if name in deltas else change
    return deltas


def weight_change(adapter: Adapter) -> Tensor | None:
    """The unscaled change of the adapter's own rows, float32; None when it changes no weight by itself (bias, OFT).

    [out, in] for linear layers, [out, in, kh, kw] for convolutions ([out, in · kh · kw] for LoHa and LoKr of one).
    """
    tensors = {kind: tensor.float() for kind, tensor in adapter.tensors.items()}
    if UP in tensors:
        up, down = tensors[UP], tensors[DOWN]
        if MID in tensors:
            return torch.einsum("oa...,abhw,bi...->oihw", up.flatten(1), tensors[MID], down.flatten(1))
        return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
    if DIFF in tensors:
        return tensors[DIFF]
    if "hada_w1_a" in tensors:
        return lycoris_factor(tensors, "hada_w1", "hada_t1") * lycoris_factor(tensors, "hada_w2", "hada_t2")
    if any(kind.startswith("lokr") for kind in tensors):
        first, second = lycoris_factor(tensors, "lokr_w1", ""), lycoris_factor(tensors, "lokr_w2", "lokr_t2")
        return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - first.ndim)), second.contiguous())
    return None


def _changes(lora: Lora, adapter: Adapter, strength: float, base: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Placed changes of one adapter by parameter: "weight" and, where the file has one, "bias"."""
    weight = None if base is None else base.get(f"{adapter.target.weight}.weight")
    width_in = adapter.columns or lora.width
    changes = {}
    try:
        change = weight_change(adapter)
        if depends_on_base(adapter):
            changes["weight"] = _placed_on_base(lora, adapter, change, strength, weight)
        elif change is not None:
            placed = strength * place_rows(adapter.target, adapter.scale * change, width_in)
            keep = weight is None or adapter.widened is not None
            changes["weight"] = placed if keep or weight is None else placed.reshape(weight.shape)
        for kind, factor in ((UP_BIAS, adapter.scale), (DIFF_BIAS, 1.0)):
            if kind in adapter.tensors:
                bias = strength * factor * adapter.tensors[kind].float().reshape(-1)
                placed = place_rows(adapter.target, bias, width_in)
                changes["bias"] = changes["bias"] + placed if "bias" in changes else placed
    except LoraError:
        raise
    except NotImplementedError as error:
        raise LoraError(f"{error} is not merged here", path=lora.path, keys=[adapter.module]) from error
    except (ValueError, RuntimeError) as error:
        raise LoraError(
            f"does not fit {adapter.target.weight}: {error}", path=lora.path, keys=[adapter.module]
        ) from error
    return changes


def depends_on_base(adapter: Adapter) -> bool:
    """Whether the adapter's change depends on the weight to which it is added (DoRA, OFT, GLoRA), or replaces it."""
    return not _ON_BASE.isdisjoint(adapter.tensors)


def _placed_on_base(
    lora: Lora, adapter: Adapter, change: Tensor | None, strength: float, weight: Tensor | None
) -> Tensor:
    """The change of a DoRA or OFT, in the rows of the whole weight to which it belongs."""
    if weight is None:
        raise LoraError(
            "needs base: the change of a DoRA or OFT depends on the weight it is added to",
            path=lora.path,
            keys=[adapter.module],
            remedy=f"Pass base with '{adapter.target.weight}.weight'",
        )
    part = weight.float()
    if SET in adapter.tensors:  # ComfyUI puts it in whatever the strength is
        return adapter.tensors[SET].float() - part
    height = part.shape[0] if adapter.area is None else adapter.area.rows
    rows = adapter.target.rows
    start = 0 if rows is None else row_span(rows, height)[0]
    part = part[start : start + height]
    placed = torch.zeros(weight.shape, dtype=torch.float32)
    placed[start : start + height] = strength * _change_on(adapter, part, change, strength)
    return placed


def _change_on(adapter: Adapter, weight: Tensor, change: Tensor | None, strength: float) -> Tensor:
    if change is not None:
        return dora_change(adapter, weight, change)
    if OFT in adapter.tensors:
        return _oft_change(adapter, weight, strength)
    if DORA in adapter.tensors:
        raise NotImplementedError("DoRA on GLoRA")
    a_up, a_down, b_up, b_down = glora_factors(adapter.tensors)
    on_weight = torch.einsum("oi...,ij->oj...", weight, a_up @ a_down)
    return adapter.scale * (on_weight + (b_up @ b_down).reshape(weight.shape))


def glora_factors(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """GLoRA's factors for the weight W + s (W A + B): A = first @ second, B = third @ fourth; float32, flat."""
    a1, a2, b1, b2 = (tensors[kind].float().flatten(1) for kind in GLORA)
    older = glora_is_older({kind: tensor.shape for kind, tensor in tensors.items()})
    return (a2, a1, b2, b1) if older else (a1, a2, b1, b2)


def dora_change(adapter: Adapter, weight: Tensor, change: Tensor, by_host: bool = True) -> Tensor:
    """Return W' - W of a DoRA for the rows `weight`, float32, in the shape of `weight`.

    Args:
        adapter: the DoRA.
        weight: the rows of the weight to which the change belongs.
        change: the unscaled change.
        by_host: True divides per row by the norm of W, as ComfyUI does. False divides by that of W + change, as the
            trainers do (Liu et al. 2024, eq. 5). Per column both divide by the norm of W + change.
    """
    changed, ratio = _dora(adapter, weight, change, by_host)
    return changed * ratio - weight


def dora_ratio(adapter: Adapter, weight: Tensor, change: Tensor, by_host: bool = True) -> Tensor:
    """What a DoRA multiplies the rows [rows, 1, …] or columns [1, columns, …] of W + change with; as `dora_change`."""
    return _dora(adapter, weight, change, by_host)[1]


def _dora(adapter: Adapter, weight: Tensor, change: Tensor, by_host: bool) -> tuple[Tensor, Tensor]:
    """W + change, and the ratio."""
    if adapter.target.swap != "never":
        change = place_rows(adapter.target, change, adapter.columns)
    magnitude = host_magnitude(adapter).float()
    changed = weight + adapter.scale * change.reshape(weight.shape)
    ones = [1] * (weight.ndim - 1)
    if magnitude.shape[0] == changed.shape[0]:
        norm = (weight if by_host else changed).flatten(1).norm(dim=1).reshape(-1, *ones)
    else:
        norm = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(-1, *ones).transpose(0, 1)
    return changed, magnitude / (norm + torch.finfo(torch.float32).eps)


def why_merged(adapter: Adapter) -> str | None:
    """Say why an adapter cannot be applied beside its weight, whatever the weight is; None = it can."""
    if DIFF in adapter.tensors:
        return "a whole difference"
    if SET in adapter.tensors:
        return "a whole weight"
    if DORA in adapter.tensors and (OFT in adapter.tensors or GLORA[0] in adapter.tensors):
        return "a DoRA on another base than a sum"
    return None


def dora_gaps(adapters: Iterable[Adapter], base: Mapping[str, Tensor]) -> dict[str, float]:
    """Return per module how far ComfyUI's DoRA is from the trainer's: |difference| / |the trainer's change|.

    `base` is as in `merged_delta`. Modules whose weight is not in it, and those without a magnitude, are left out.
    """
    gaps = {}
    for adapter in adapters:
        weight, change = base.get(f"{adapter.target.weight}.weight"), weight_change(adapter)
        if weight is None or change is None or not {DORA, MAGNITUDE} & adapter.tensors.keys():
            continue
        rows = adapter.target.rows
        start = 0 if rows is None else row_span(rows, change.shape[0])[0]
        part = weight.float()[start : start + change.shape[0]]
        by_host, by_trainer = (dora_change(adapter, part, change, by_host=host) for host in (True, False))
        length = by_trainer.norm().item()
        gaps[adapter.module] = (by_host - by_trainer).norm().item() / length if length else 0.0
    return gaps


def _oft_change(adapter: Adapter, weight: Tensor, strength: float) -> Tensor:
    """s (R - 1) W for block-diagonal rotations R = (1 + Q)(1 - Q)⁻¹, Q skew-symmetric (Qiu et al. 2023, eq. 5).

    Of a BOFT such a rotation by stage, each of other rows together (Liu et al. 2024). With a trained rescale, its
    product with the rotated W, less W.
    """
    if DORA in adapter.tensors:
        raise NotImplementedError("DoRA on OFT")
    butterfly, turned = adapter.tensors[OFT].ndim == 4, weight.flatten(1)
    for number, blocks in enumerate(rotations(adapter)):
        apart = 2**number * (blocks.shape[-1] // 2)
        parts = (_exchanged(turned, 2, apart) if butterfly else turned).reshape(*blocks.shape[:2], -1)
        change = ((blocks if butterfly else blocks.transpose(1, 2)) @ parts).flatten(0, 1)
        turned = turned + strength * (_exchanged(change, apart, 2) if butterfly else change)
    if RESCALE in adapter.tensors:
        turned = turned * adapter.tensors[RESCALE].float().reshape(-1, 1)
    return turned.reshape(weight.shape) - weight


def _exchanged(rows: Tensor, outer: int, inner: int) -> Tensor:
    """Rows in groups of outer · inner, those of each group in the order of its columns."""
    return rows.unflatten(0, (-1, outer, inner)).transpose(1, 2).flatten(0, 2)


def rotations(adapter: Adapter) -> Tensor:
    """R - 1 of an OFT or BOFT by stage, [stages, blocks, size, size], float32; an OFT has one stage."""
    blocks = adapter.tensors[OFT].float()
    skew = blocks - blocks.transpose(-1, -2)
    length, bound = skew.norm() + 1e-8, adapter.alpha or 0.0
    if ALPHA in adapter.tensors and 0 < bound < length:
        skew = skew * (bound / length)
    one = torch.eye(blocks.shape[-1])
    turned = (one + skew) @ torch.linalg.inv(one - skew) - one
    return turned if turned.ndim == 4 else turned[None]
