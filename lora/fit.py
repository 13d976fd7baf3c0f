"""Does a LoRA fit a model's weights: shapes are compared first, because ComfyUI only logs a misfit and goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from operator import le
from typing import NamedTuple

from ..errors import LoraError, shorten
from .adapter import Adapter
from .names.table import row_span
from .reader import Lora
from .suffixes import DIFF, DIFF_BIAS, DORA, MAGNITUDE, UP_BIAS

Shapes = Mapping[str, Sequence[int]]


class Misfit(NamedTuple):
    """One module whose change cannot be added to its weight, and why."""

    module: str
    reason: str


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
    if not found:
        return ()
    parts = {
        adapter.module: adapter.target.part for adapter in lora.adapters if f"{adapter.target.weight}.weight" in shapes
    }
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
        reason = _misfit(adapter, tuple(weight), shapes)
        if reason is not None:
            found.append((prod(weight), Misfit(adapter.module, reason)))
    return tuple(misfit for _, misfit in sorted(found, key=lambda one: -one[0]))


def _misfit(adapter: Adapter, weight: tuple[int, ...], shapes: Shapes) -> str | None:
    area = adapter.area
    if adapter.widened is not None and all(map(le, weight, adapter.widened)):
        weight = adapter.widened
    columns = prod(weight[1:])
    rows = weight[0] if area is None else area.rows
    if DIFF in adapter.tensors and tuple(adapter.tensors[DIFF].shape[1:]) != weight[1:]:
        return f"is a difference of shape {list(adapter.tensors[DIFF].shape)}, its weight is {list(weight)}"
    if area is not None and (not _rows_fit(adapter, rows, weight[0]) or area.columns not in (None, columns)):
        part = "" if adapter.target.rows is None else " rows of a slice"
        changed = f"{area.rows}{part}" if area.columns is None else f"{area.rows}{part}, {area.columns}"
        return f"changes [{changed}], its weight is [{weight[0]}, {columns}]"
    for kind in (DORA, MAGNITUDE):
        if kind in adapter.tensors and adapter.tensors[kind].numel() not in (rows, weight[1] if weight[1:] else 1):
            return f"has {adapter.tensors[kind].numel()} magnitudes for a weight of {list(weight)}"
    for kind in (UP_BIAS, DIFF_BIAS):
        if kind not in adapter.tensors:
            continue
        bias = shapes.get(f"{adapter.target.weight}.bias")
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
