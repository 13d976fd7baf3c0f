"""Does a LoRA fit a model's weights: shapes are compared first, because ComfyUI only logs a misfit and goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from ..errors import LoraError, shorten
from .adapter import Adapter, glora_is_older
from .convert import row_span
from .reader import Lora
from .suffixes import DIFF, DIFF_BIAS, DORA, DOWN, GLORA, MAGNITUDE, MID, OFT, UP, UP_BIAS

Shapes = Mapping[str, Sequence[int]]


class Misfit(NamedTuple):
    """One module whose change cannot be added to its weight, and why."""

    module: str
    reason: str


class _Area(NamedTuple):
    """Rows and columns (of a convolution times its kernel) that an adapter covers."""

    rows: int
    columns: int


def check_fit(lora: Lora, shapes: Shapes) -> tuple[Misfit, ...]:
    """The modules of `lora` that do not fit their weights. ComfyUI leaves them out, and `fitting` does.

    Args:
        lora: the LoRA.
        shapes: shape by ComfyUI's name of the weight or bias (`diffusion_model.….weight`, `clip_l.….weight`), of
            whatever is loaded. Modules whose weight is not among them are no misfits: they do not match at all.

    Raises LoraError, naming the file and the modules, when half of a part's modules or more do not fit, because the
    LoRA was then trained on another model.
    """
    found = misfits(lora, shapes)
    parts = {adapter.module: adapter.target.part for adapter in lora.adapters if _has_weight(adapter, shapes)}
    matching, strange = Counter(parts.values()), Counter(parts[misfit.module] for misfit in found)
    for part, count in strange.items():
        if 2 * count >= matching[part]:
            wrong = [misfit for misfit in found if parts[misfit.module] == part]
            reasons = shorten((f"{misfit.module} {misfit.reason}" for misfit in wrong), limit=3)
            raise LoraError(
                f"does not fit the loaded model in {count} of {matching[part]} modules: {reasons}",
                path=lora.path,
                keys=[misfit.module for misfit in wrong],
                remedy=f"Load the {lora.family or 'text encoder'} model that it was trained on (same size and variant)",
            )
    return found


def fitting(lora: Lora, misfits: Collection[Misfit]) -> Lora:
    """`lora` without the modules that do not fit."""
    strange = {misfit.module for misfit in misfits}
    return replace(lora, adapters=tuple(one for one in lora.adapters if one.module not in strange)) if strange else lora


def misfits(lora: Lora, shapes: Shapes) -> tuple[Misfit, ...]:
    """Every module that does not fit, the largest weight first; `shapes` as in `check_fit`."""
    found: list[tuple[int, Misfit]] = []
    for adapter in lora.adapters:
        weight = shapes.get(f"{adapter.target.weight}.weight")
        if weight is None:
            continue
        reason = _misfit(adapter, tuple(weight), shapes.get(f"{adapter.target.weight}.bias"))
        if reason is not None:
            found.append((prod(weight), Misfit(adapter.module, reason)))
    return tuple(misfit for _, misfit in sorted(found, key=lambda one: -one[0]))


def _has_weight(adapter: Adapter, shapes: Shapes) -> bool:
    return f"{adapter.target.weight}.weight" in shapes


def _misfit(adapter: Adapter, weight: tuple[int, ...], bias: Sequence[int] | None) -> str | None:
    area, columns = _area(adapter), prod(weight[1:])
    rows = weight[0] if area is None else area.rows
    if area is not None and (not _rows_fit(adapter, rows, weight[0]) or area.columns != columns):
        part = "" if adapter.target.rows is None else " rows of a slice"
        return f"changes [{area.rows}{part}, {area.columns}], its weight is [{weight[0]}, {columns}]"
    if DIFF in adapter.tensors and tuple(adapter.tensors[DIFF].shape) != weight:
        return f"is a difference of shape {list(adapter.tensors[DIFF].shape)}, its weight is {list(weight)}"
    if OFT in adapter.tensors and prod(adapter.tensors[OFT].shape[-3:-1]) != weight[0]:
        return f"rotates {prod(adapter.tensors[OFT].shape[-3:-1])} rows of {weight[0]}"
    for kind in (DORA, MAGNITUDE):
        if kind in adapter.tensors and adapter.tensors[kind].numel() not in (rows, weight[1] if weight[1:] else 1):
            return f"has {adapter.tensors[kind].numel()} magnitudes for a weight of {list(weight)}"
    for kind in (UP_BIAS, DIFF_BIAS):
        if kind not in adapter.tensors:
            continue
        if bias is None:
            return "changes a bias, but its layer has none"
        if not _rows_fit(adapter, adapter.tensors[kind].numel(), bias[0]):
            return f"changes {adapter.tensors[kind].numel()} biases of {bias[0]}"
    return None


def _rows_fit(adapter: Adapter, rows: int, whole: int) -> bool:
    if adapter.target.rows is None:
        return rows == whole
    try:
        return row_span(adapter.target.rows, rows)[1] == whole
    except ValueError:
        return False


def _area(adapter: Adapter) -> _Area | None:
    """What the adapter covers, from its factors; None for a whole difference, a rotation and biases alone."""
    shapes = {kind: tuple(tensor.shape) for kind, tensor in adapter.tensors.items()}
    if UP in shapes:
        kernel = prod(shapes[MID][2:]) if MID in shapes else 1
        return _Area(shapes[UP][0], prod(shapes[DOWN][1:]) * kernel)
    if GLORA[0] in shapes:
        outer, inner = (GLORA[3], GLORA[2]) if glora_is_older(shapes) else (GLORA[2], GLORA[3])
        return _Area(shapes[outer][0], prod(shapes[inner][1:]))
    if "hada_w1_a" in shapes:
        return _factor_area(shapes, "hada_w1", "hada_t1")
    if any(kind.startswith("lokr") for kind in shapes):
        first, second = _factor_area(shapes, "lokr_w1", ""), _factor_area(shapes, "lokr_w2", "lokr_t2")
        return _Area(first.rows * second.rows, first.columns * second.columns)
    return None


def _factor_area(shapes: Mapping[str, tuple[int, ...]], name: str, core: str) -> _Area:
    if name in shapes:
        return _Area(shapes[name][0], prod(shapes[name][1:]))
    a, b = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if core in shapes:
        return _Area(a[1], b[1] * prod(shapes[core][2:]))
    return _Area(a[0], prod(b[1:]))
