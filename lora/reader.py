"""Reads a LoRA file: recognises the dialect, finds the family, checks every module, and takes the tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..errors import LoraError
from .adapter import Adapter, model_width
from .checkpoints import step_of
from .dialects import DIALECTS, Alpha, Dialect, taken_apart
from .factors import factor_of, with_factor
from .family import detect_family, refuse_other_models
from .header import read_header
from .layout import MAGNITUDE_DROPPED, layout_of
from .metadata import LoraFile
from .refusals import refuse_unusable
from .rows import in_host_order
from .suffixes import ALPHA, OFT
from .tensor_data import read_tensors

_T = TypeVar("_T")


@dataclass(frozen=True)
class Lora:
    """A LoRA file that was read and checked.

    Args:
        path: the file.
        dialect: the name of its dialect.
        family: None only when the file holds text-encoder modules alone.
        rank, alpha: the most frequent ones, as the file states them. Each adapter has its own.
        step: the training step, or None when it is unknown.
        tensors: the adapter tensors under the file's own names.
        ignored: names that were rightly left out (optimizer state, embeddings), with the reason.
        unmatched: adapter tensors of modules that the family does not have.
        adapters: the modules.
        alpha_source: where alpha came from: "argument", "tensors", "header", the name of a JSON file beside it, "the
            trainer's rule" or "none" (the file states none, so scale 1, alpha = rank).
        notes: what is worth knowing.
        warnings: what makes the picture another than the trainer's.
    """

    path: Path
    dialect: str
    family: str | None
    rank: int | None
    alpha: float | None
    step: int | None
    tensors: dict[str, Tensor]
    ignored: dict[str, str]
    unmatched: tuple[str, ...]
    adapters: tuple[Adapter, ...]
    alpha_source: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def width(self) -> int | None:
        """The width of the model, where a module shows it."""
        return model_width(self.adapters)


def read_lora(path: str | Path, family: str | None = None, alpha: float | None = None) -> Lora:
    """Read a LoRA checkpoint in any known dialect.

    Only the ranges of the adapter's tensors are read. So optimizer state costs nothing, and a trainer that overwrites
    the file cannot disturb a loaded model.

    Args:
        path: a .safetensors file.
        family: the family's id, for a file that does not tell it.
        alpha: replaces what the file says for every module (with rsLoRA it is still divided by the root of the rank).

    Raises LoraError, naming file, keys and remedy, for half-written files (`.retryable`), pickled or damaged files,
    files that are not LoRAs, unknown dialects, another family's modules, up/down shapes that do not fit, NaN and
    infinity.
    """
    file = taken_apart(read_header(path))
    dialect = _recognise(file)
    family = detect_family(file, family)
    try:
        layout = layout_of(file, dialect, family)
        grouped, placed = layout.grouped, layout.placed
        tensors = read_tensors(file.header, [key for module in placed for key in grouped[module].values()])
    except LoraError as error:
        if family is None or error.retryable or family in error.problem:
            raise
        raise error.saying(f"(a {family} LoRA by its names)") from error
    adapters, alphas, folded = [], [], {}
    for module, target in placed.items():
        kinds = grouped[module]
        own: Mapping[str, Tensor] = {kind: tensors[key] for kind, key in kinds.items()}
        scale = _alpha(file, dialect, module, own, layout.ranks[module], alpha)
        factor = factor_of(file, module, own)
        own = with_factor(own, factor)
        if factor != 1.0:
            folded[module] = factor
        alphas.append(scale)
        adapters.append(Adapter(module, target, own, tuple(kinds.values()), scale and scale.effective))
    adapters = _in_host_order(file, adapters)
    rank = _most_frequent(adapter.rank for adapter in adapters)
    stated = [scale for scale in alphas if scale is not None]
    return Lora(
        path=file.path,
        dialect=dialect.name,
        family=family,
        rank=rank,
        alpha=_most_frequent(scale.value for scale in stated) if stated else (None if rank is None else float(rank)),
        step=step_of(file.path),
        tensors=tensors,
        ignored=dict(layout.ignored),
        unmatched=layout.unmatched,
        adapters=tuple(adapters),
        alpha_source=_most_frequent(scale.source for scale in stated) or "none",
        notes=tuple(_notes(adapters, alphas, folded.values())),
        warnings=(*_warnings(layout.ignored), *dialect.warnings(file)),
    )


def with_scale(lora: Lora, scale: float) -> Lora:
    """The same LoRA multiplied by `scale` in place of alpha / rank, as a trainer does that ignores the file's alpha.

    What has no rank (full matrices, OFT) stays as it is.
    """
    adapters = tuple(
        adapter if adapter.rank is None else replace(adapter, alpha=scale * adapter.rank) for adapter in lora.adapters
    )
    alpha = None if lora.rank is None else scale * lora.rank
    return replace(lora, adapters=adapters, alpha=alpha, alpha_source="argument")


def _recognise(file: LoraFile) -> Dialect:
    refuse_unusable(file)
    refuse_other_models(file)
    for dialect in DIALECTS:
        if dialect.recognises(file):
            return dialect
    raise LoraError(
        "its names follow none of the known dialects",
        path=file.path,
        keys=file.parts,
        remedy=f"Known are {', '.join(dialect.name for dialect in DIALECTS)}; export the LoRA in one of them",
    )


def _alpha(
    file: LoraFile, dialect: Dialect, module: str, tensors: Mapping[str, Tensor], rank: int | None, asked: float | None
) -> Alpha | None:
    """The alpha of one module: that of the argument, else of a tensor, else what the file states elsewhere."""
    if rank is None:  # OFT's alpha is a bound on its rotations, not a scale, and belongs to its module alone
        return _tensor_alpha(file, module, tensors) if OFT in tensors and ALPHA in tensors else None
    stated = dialect.alpha(file, module, rank)
    used = asked if asked is not None or stated is None else stated.value
    if used is not None and not math.isfinite(used):
        raise LoraError("alpha is not a finite number", path=file.path, remedy="Give alpha explicitly")
    if asked is not None:
        ratio = stated.effective / stated.value if stated is not None and stated.value else 1.0
        return Alpha(float(asked), float(asked) * ratio, "argument")
    return _tensor_alpha(file, module, tensors) if ALPHA in tensors else stated


def _tensor_alpha(file: LoraFile, module: str, tensors: Mapping[str, Tensor]) -> Alpha:
    if tensors[ALPHA].numel() != 1:
        shape = list(tensors[ALPHA].shape)
        raise LoraError(
            f"alpha has shape {shape}, not one value",
            path=file.path,
            keys=[f"{module}.{ALPHA}"],
            remedy="Give alpha explicitly",
        )
    value = float(tensors[ALPHA].item())
    return Alpha(value, value, "tensors")


def _in_host_order(file: LoraFile, adapters: list[Adapter]) -> list[Adapter]:
    width, ordered = model_width(adapters), []
    for adapter in adapters:
        try:
            ordered.append(in_host_order(adapter, width))
        except ValueError as error:
            raise LoraError(
                str(error), path=file.path, keys=[adapter.module], remedy="Train without this module"
            ) from error
    return ordered


def _notes(
    adapters: Iterable[Adapter], alphas: Iterable[Alpha | None], factors: Collection[float]
) -> Iterator[str]:
    adapters = list(adapters)
    low_rank = [scale for adapter, scale in zip(adapters, alphas, strict=True) if adapter.rank is not None]
    if low_rank and not any(low_rank):
        yield "no alpha in the file or beside it: scale 1 (alpha = rank) is assumed"
    values = sorted({scale.value for scale in low_rank if scale is not None})
    if len(values) > 1:
        yield f"alpha differs between modules: {', '.join(f'{value:g}' for value in values)}"
    if factors:
        stated = ", ".join(f"{factor:.4g}" for factor in sorted(set(factors))[:4])
        yield f"{len(factors)} modules have a factor that ComfyUI's loader leaves out; it is multiplied in: {stated}"
    ranks = sorted({adapter.rank for adapter in adapters if adapter.rank is not None})
    if len(ranks) > 1:
        yield f"rank differs between modules: {', '.join(map(str, ranks))}"


def _warnings(ignored: Mapping[str, str]) -> Iterator[str]:
    """What ComfyUI cannot do."""
    dropped = sum(reason == MAGNITUDE_DROPPED for reason in ignored.values())
    if dropped:
        yield f"{dropped} DoRA magnitudes of ai-toolkit are left out: ComfyUI cannot apply them, a plain LoRA loads"


def _most_frequent(values: Iterable[_T | None]) -> _T | None:
    counted = Counter(value for value in values if value is not None)
    return counted.most_common(1)[0][0] if counted else None
