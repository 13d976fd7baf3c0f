"""Reads a LoRA file: recognises the dialect, finds the family, checks every module, and takes the tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from torch import Tensor

from ..errors import LoraError
from ..families import FAMILIES
from .adapter import Adapter, check_shapes, factored_rank
from .checkpoints import step_of
from .dialects import DIALECTS, Alpha, Dialect, taken_apart
from .family import detect_family, refuse_other_models
from .header import read_header
from .metadata import LoraFile
from .names import Target
from .names.text_encoders import is_text_encoder, target_of
from .refusals import refuse_unusable
from .suffixes import AITK_MAGNITUDE, ALPHA, DIFF_BIAS, EVIDENCE, OFT
from .tensor_data import read_tensors

_T = TypeVar("_T")
_MAGNITUDE_DROPPED = "ai-toolkit's DoRA magnitude"
_NOT_AN_ADAPTER = "no adapter tensor"
_NO_WEIGHTS = "scale or magnitude without weights"
DROPPED = frozenset({_NOT_AN_ADAPTER, _NO_WEIGHTS})  # reasons in Lora.ignored that a user must hear about


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
        layout = _layout(file, dialect, family)
        grouped, placed = layout.grouped, layout.placed
        tensors = read_tensors(file.header, [key for module in placed for key in grouped[module].values()])
    except LoraError as error:
        if family is None or error.retryable or family in error.problem:
            raise
        raise error.saying(f"(a {family} LoRA by its names)") from error
    adapters, alphas = [], []
    for module, target in placed.items():
        kinds = grouped[module]
        own = {kind: tensors[key] for kind, key in kinds.items()}
        scale = _alpha(file, dialect, module, own, layout.ranks[module], alpha)
        alphas.append(scale)
        adapters.append(Adapter(module, target, own, tuple(kinds.values()), scale and scale.effective))
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
        ignored=layout.ignored,
        unmatched=layout.unmatched,
        adapters=tuple(adapters),
        alpha_source=_most_frequent(scale.source for scale in stated) or "none",
        notes=tuple(_notes(adapters, alphas)),
        warnings=(*_warnings(layout.ignored), *dialect.warnings(file)),
    )


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


class _Layout(NamedTuple):
    """Which names of a file are what, without its numbers.

    Args:
        grouped: keys by module and kind.
        placed: the modules that the family has.
        ranks: their ranks, as `factored_rank` gives them.
    """

    grouped: dict[str, dict[str, str]]
    placed: dict[str, Target]
    ranks: dict[str, int | None]
    ignored: dict[str, str]
    unmatched: tuple[str, ...]


def _layout(file: LoraFile, dialect: Dialect, family: str | None) -> _Layout:
    """Group, place and check the names and shapes of a file."""
    grouped, ignored = _group(file, dialect)
    placed = {module: target for module in grouped if (target := _target(dialect, module, family)) is not None}
    unmatched = [key for module, kinds in grouped.items() if module not in placed for key in kinds.values()]
    _refuse_nothing_placed(file, family, dialect, placed, unmatched)
    _refuse_same_place(file, placed)
    ranks = {}
    for module in placed:
        shapes = {kind: file.header.shapes[key] for kind, key in grouped[module].items()}
        check_shapes(file.path, module, shapes)
        ranks[module] = factored_rank(shapes)
    return _Layout(grouped, placed, ranks, ignored, tuple(unmatched))


@lru_cache(maxsize=1 << 16)  # the checkpoints of a run have the same names
def _target(dialect: Dialect, module: str, family: str | None) -> Target | None:
    """The place of a module: text encoders by their own names, everything else as the dialect has it."""
    if is_text_encoder(module):
        return target_of(module)
    return None if family is None else dialect.target(module, FAMILIES[family].names)


def _group(file: LoraFile, dialect: Dialect) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """File keys by module and kind, and the keys that are left out with the reason."""
    grouped: dict[str, dict[str, str]] = {}
    ignored: dict[str, str] = {}
    for name in file.header.shapes:
        reason, part = dialect.ignored(name), file.parts.get(name)
        if reason is not None or part is None:
            ignored[name] = reason or _NOT_AN_ADAPTER
            continue
        if part.kind == AITK_MAGNITUDE:
            ignored[name] = _MAGNITUDE_DROPPED
            continue
        kinds = grouped.setdefault(part.module, {})
        if part.kind in kinds:
            raise LoraError(
                "two tensors of the same kind for one module",
                path=file.path,
                keys=[kinds[part.kind], name],
                remedy="Save one adapter per file",
            )
        kinds[part.kind] = name
    changes = EVIDENCE | {DIFF_BIAS}
    for module in [module for module, kinds in grouped.items() if not changes & kinds.keys()]:
        ignored.update(dict.fromkeys(grouped.pop(module).values(), _NO_WEIGHTS))
    return grouped, ignored


def _refuse_nothing_placed(
    file: LoraFile, family: str | None, dialect: Dialect, placed: Mapping[str, Target], unmatched: Iterable[str]
) -> None:
    if not placed:
        raise LoraError(
            f"none of its {dialect.name} keys names a module of {family or 'a known text encoder'}",
            path=file.path,
            keys=unmatched,
            remedy="Check the family, or export the LoRA under its trainer's default key names",
        )


def _refuse_same_place(file: LoraFile, placed: Mapping[str, Target]) -> None:
    seen: dict[str, str] = {}
    for module, target in placed.items():
        other = seen.setdefault(target.name, module)
        if other != module:
            raise LoraError(
                f"two names for the same weight {target.weight}; ComfyUI would apply only one of them",
                path=file.path,
                keys=[other, module],
                remedy="Save the LoRA again in one naming",
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
    value = float(tensors[ALPHA].reshape(()).item())
    return Alpha(value, value, "tensors")


def _notes(adapters: Iterable[Adapter], alphas: Iterable[Alpha | None]) -> Iterator[str]:
    adapters = list(adapters)
    low_rank = [scale for adapter, scale in zip(adapters, alphas, strict=True) if adapter.rank is not None]
    if low_rank and not any(low_rank):
        yield "no alpha in the file or beside it: scale 1 (alpha = rank) is assumed"
    values = sorted({scale.value for scale in low_rank if scale is not None})
    if len(values) > 1:
        yield f"alpha differs between modules: {', '.join(f'{value:g}' for value in values)}"
    ranks = sorted({adapter.rank for adapter in adapters if adapter.rank is not None})
    if len(ranks) > 1:
        yield f"rank differs between modules: {', '.join(map(str, ranks))}"


def _warnings(ignored: Mapping[str, str]) -> Iterator[str]:
    """What ComfyUI cannot do."""
    dropped = sum(reason == _MAGNITUDE_DROPPED for reason in ignored.values())
    if dropped:
        yield f"{dropped} DoRA magnitudes of ai-toolkit are left out: ComfyUI cannot apply them, a plain LoRA loads"


def _most_frequent(values: Iterable[_T | None]) -> _T | None:
    counted = Counter(value for value in values if value is not None)
    return counted.most_common(1)[0][0] if counted else None
