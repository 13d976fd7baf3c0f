"""Which names of a LoRA file are what, without its numbers: modules, their places, copies, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from ..errors import LoraError
from ..families import FAMILIES
from .adapter import check_shapes, covered, factored_rank
from .dialects import Dialect
from .metadata import LoraFile
from .names import Target
from .names.table import row_span
from .names.text_encoders import is_text_encoder, target_of
from .suffixes import AITK_MAGNITUDE, DIFF_BIAS, EVIDENCE, UP_BIAS
from .tensor_names import TensorNames

MAGNITUDE_DROPPED: Final = "ai-toolkit's DoRA magnitude"
_NOT_AN_ADAPTER: Final = "no adapter tensor"
_NO_WEIGHTS: Final = "scale or magnitude without weights"
_COPY: Final = "a second copy of the same changes under other names"
DROPPED: Final = frozenset({_NOT_AN_ADAPTER, _NO_WEIGHTS})  # reasons in Lora.ignored that a user must hear about
_FEW: Final = 10  # less than one in so many
_BIASES: Final = frozenset({DIFF_BIAS, UP_BIAS})
_CHANGES: Final = EVIDENCE | {DIFF_BIAS}

_Groups = dict[str, dict[str, str]]  # keys by module and kind
_Places = dict[str, Target]


class Layout(NamedTuple):
    """The names of a file, sorted.

    Args:
        grouped: keys by module and kind.
        placed: the modules that the family has.
        ranks: their ranks, as `factored_rank` gives them.
        ignored: keys that are left out, with the reason.
        unmatched: adapter keys of modules that the family does not have.
    """

    grouped: _Groups
    placed: _Places
    ranks: dict[str, int | None]
    ignored: dict[str, str]
    unmatched: tuple[str, ...]


_Known = dict[tuple[Dialect, str | None], Layout]
_KNOWN: WeakKeyDictionary[TensorNames, _Known] = WeakKeyDictionary()


def layout_of(file: LoraFile, dialect: Dialect, family: str | None) -> Layout:
    """Group, place and check the names and shapes of a file. Raises LoraError as `reader.read_lora`."""
    known = _KNOWN.setdefault(file.names, {})
    if (dialect, family) not in known:
        known[dialect, family] = _laid_out(file, dialect, family)
    return known[dialect, family]


def _laid_out(file: LoraFile, dialect: Dialect, family: str | None) -> Layout:
    grouped, ignored = _group(file, dialect)
    placed = {module: target for module in grouped if (target := _target(dialect, module, family)) is not None}
    _join_halves(grouped, placed, ignored)
    unmatched = [key for module, kinds in grouped.items() if module not in placed for key in kinds.values()]
    _refuse_nothing_placed(file, family, dialect, placed, unmatched)
    _refuse_mostly_unknown(file, family, grouped, placed)
    _leave_out_copies(file, dialect, grouped, placed, ignored)
    ranks = {}
    for module in placed:
        shapes = _shapes(file, grouped[module])
        check_shapes(file.path, module, shapes)
        ranks[module] = factored_rank(shapes)
    _refuse_uneven_slices(file, grouped, placed)
    return Layout(grouped, placed, ranks, ignored, tuple(unmatched))


@lru_cache(maxsize=1 << 16)  # the checkpoints of a run have the same names
def _target(dialect: Dialect, module: str, family: str | None) -> Target | None:
    """The place of a module: text encoders by their own names, everything else as the dialect has it."""
    if is_text_encoder(module):
        return target_of(module)
    return None if family is None else dialect.target(module, FAMILIES[family].names)


def _shapes(file: LoraFile, kinds: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {kind: file.header.shapes[key] for kind, key in kinds.items()}


def _group(file: LoraFile, dialect: Dialect) -> tuple[_Groups, dict[str, str]]:
    """File keys by module and kind, and the keys that are left out with the reason."""
    grouped: _Groups = {}
    ignored: dict[str, str] = {}
    for name in file.header.shapes:
        reason, part = dialect.ignored(name), file.parts.get(name)
        if reason is not None or part is None:
            ignored[name] = reason or _NOT_AN_ADAPTER
            continue
        if part.kind == AITK_MAGNITUDE:
            ignored[name] = MAGNITUDE_DROPPED
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
    return grouped, ignored


def _join_halves(grouped: _Groups, placed: _Places, ignored: dict[str, str]) -> None:
    """Scales and magnitudes that stand under another name of their module go there; without one they are left out."""
    homes = {target: module for module, target in placed.items() if _CHANGES & grouped[module].keys()}
    for module in [module for module, kinds in grouped.items() if not _CHANGES & kinds.keys()]:
        kinds, target = grouped.pop(module), placed.pop(module, None)
        home = None if target is None else homes.get(target)
        if home is None or kinds.keys() & grouped[home].keys():
            ignored.update(dict.fromkeys(kinds.values(), _NO_WEIGHTS))
        else:
            grouped[home].update(kinds)


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


def _refuse_mostly_unknown(
    file: LoraFile, family: str | None, grouped: Mapping[str, object], placed: Mapping[str, Target]
) -> None:
    """A few names that happen to be a family's, among others, are another format: its rest would be lost."""
    modules = [module for module in grouped if not is_text_encoder(module)]
    unknown = [module for module in modules if module not in placed]
    if len(modules) - len(unknown) < len(modules) / _FEW:
        raise LoraError(
            f"only {len(modules) - len(unknown)} of its {len(modules)} modules of the model are known in {family}",
            path=file.path,
            keys=unknown,
            remedy="Export the LoRA under its trainer's default key names, or check the family",
        )


class _Span(NamedTuple):
    """The rows of a weight or bias that a module changes, from 0 to 1."""

    module: str
    start: Fraction
    end: Fraction


def _leave_out_copies(
    file: LoraFile, dialect: Dialect, grouped: _Groups, placed: _Places, ignored: dict[str, str]
) -> None:
    """Of two copies of one LoRA in a file, the one in the dialect's own names counts. LoraError for half a copy.

    Under the dialect's own names a fused weight and a part of it may both be there: that is two changes.
    """
    taken: dict[tuple[str, bool], list[_Span]] = {}
    for module in sorted(placed, key=lambda name: dialect.modules.match(name) is None):
        own, kinds = dialect.modules.match(module) is not None, grouped[module].keys()
        for of_bias in {of_bias for of_bias, some in ((False, EVIDENCE), (True, _BIASES)) if some & kinds}:
            rows, weight = placed[module].rows, placed[module].weight
            ends = (0, 1, 1) if rows is None else (rows.start, rows.start + rows.count, rows.total)
            span = _Span(module, Fraction(ends[0], ends[2]), Fraction(ends[1], ends[2]))
            known = taken.setdefault((weight, of_bias), [])
            others = [other for other in known if other.start < span.end and span.start < other.end]
            if not others:
                known.append(span)
                continue
            shared = sum(min(span.end, other.end) - max(span.start, other.start) for other in others)
            same = any(placed[other.module].name == placed[module].name for other in others)
            if own and not same:
                known.append(span)
                continue
            if own or shared < span.end - span.start:
                raise LoraError(
                    f"two names for the same weight {weight}; ComfyUI would apply only one of them",
                    path=file.path,
                    keys=[others[0].module, module],
                    remedy="Save the LoRA again in one naming",
                )
            ignored.update(dict.fromkeys(grouped[module].values(), _COPY))
    for module in [module for module in placed if next(iter(grouped[module].values())) in ignored]:
        del placed[module], grouped[module]


def _refuse_uneven_slices(file: LoraFile, grouped: _Groups, placed: _Places) -> None:
    """The parts of one fused weight must mean the same whole."""
    wholes: dict[str, tuple[int, str]] = {}
    for module, target in placed.items():
        area = covered(_shapes(file, grouped[module]))
        if area is None:
            continue
        try:
            whole = area.rows if target.rows is None else row_span(target.rows, area.rows)[1]
        except ValueError as error:
            raise LoraError(str(error), path=file.path, keys=[module], remedy="Check the family") from error
        first, other = wholes.setdefault(target.weight, (whole, module))
        if first != whole:
            raise LoraError(
                f"its parts of {target.weight} do not agree: they are of {first} and of {whole} rows",
                path=file.path,
                keys=[other, module],
                remedy="The file is damaged or was pruned: save this checkpoint again",
            )
