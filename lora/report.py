"""What happened to every key of a LoRA file: matched or not, per part of the pipeline, and how strong the change is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import LoraError, shorten
from .adapter import Adapter, lycoris_factor
from .convert import bias_name
from .delta import depends_on_base, dora_gaps, weight_change, why_merged
from .fit import Misfit, fitting
from .layout import DROPPED
from .reader import Lora
from .suffixes import DORA, DOWN, LOKR, MAGNITUDE, MID, OFT, UP

_UNPLACED = "unknown"
_SHOWN_KEYS = 20


@dataclass(frozen=True)
class PartReport:
    """One part of the pipeline: how many file keys ComfyUI took, and which ones it did not."""

    matched: int
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class LoadReport:
    """What a LoRA file is and what of it arrived in ComfyUI: `as_text` for people, `as_dict` for programs.

    Its parts are "model", "clip_l", "clip_g", "t5xxl", and "unknown" for keys that name no module of the family.
    `norms` are Frobenius norms of the change at strength 1, per group of blocks (without what depends on the base:
    DoRA, OFT). `notes` are worth knowing. `warnings` name what did not arrive and what acts otherwise than in the
    trainer. `beside` is how many modules are applied beside the weights, as trainers do; `merged` names the others with
    the reason. `misfits` names the modules that do not fit their weights and were left out, the largest weight first,
    with the shapes. `modules` is how many modules the LoRA has that the family has, too.
    """

    path: str
    dialect: str
    family: str | None
    rank: int | None
    alpha: float | None
    alpha_source: str
    step: int | None
    parts: dict[str, PartReport]
    ignored: dict[str, str]
    notes: tuple[str, ...]
    norms: dict[str, float]
    warnings: tuple[str, ...] = ()
    beside: int = 0
    merged: dict[str, str] = field(default_factory=dict)
    misfits: dict[str, str] = field(default_factory=dict)
    modules: int = 0

    @property
    def matched(self) -> int:
        """File keys that ComfyUI took, all parts together."""
        return sum(part.matched for part in self.parts.values())

    @property
    def unmatched(self) -> tuple[str, ...]:
        """File keys that ComfyUI did not take, all parts together."""
        return tuple(key for part in self.parts.values() for key in part.unmatched)

    @property
    def headline(self) -> str:
        """What was applied of what, in one line: step, modules, where the change is strongest, what is missing."""
        applied = self.beside + len(self.merged)
        step = "" if self.step is None else f"step {self.step}: "
        strongest = max(self.norms, key=lambda group: self.norms[group], default="")
        misfit, reason = next(iter(self.misfits.items()), ("", ""))
        facts = (
            f"{step}{applied} of {self.modules} modules",
            strongest and f"strongest change in {strongest}",
            misfit and f"{len(self.misfits)} do not fit, the largest {misfit}: {reason}",
            self.unmatched and f"{len(self.unmatched)} keys not loaded",
        )
        return "; ".join(fact for fact in facts if fact)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, ready for JSON."""
        return {**asdict(self), "matched": self.matched}

    def as_text(self) -> str:
        """A few lines for a person: the headline, what the file is, what matched, what did not (by name) and why."""
        step = "unknown" if self.step is None else str(self.step)
        scale = "" if self.rank is None else f", rank {self.rank}, alpha {self.alpha:g} (from: {self.alpha_source})"
        lines = [self.headline, self.path, f"{self.dialect}, {self.family or 'text encoder only'}, step {step}{scale}"]
        for name, part in self.parts.items():
            total = part.matched + len(part.unmatched)
            lines.append(f"{name}: {part.matched} of {total} keys loaded")
        lines += [f"beside the weights: {self.beside} modules"] if self.beside else []
        lines += _by_reason("merged into the weights", self.merged)
        lines += _by_reason("left out", self.ignored)
        if self.norms:
            lines.append("change: " + ", ".join(f"{group} {norm:.3g}" for group, norm in self.norms.items()))
        lines += [f"WARNING: {warning}" for warning in self.warnings]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def load_report(
    lora: Lora,
    loaded: Collection[str],
    judged: Collection[str] | None = None,
    base: Mapping[str, Tensor] | None = None,
    merged: Mapping[str, str] | None = None,
    misfits: Collection[Misfit] = (),
) -> LoadReport:
    """Compare what the LoRA holds with what ComfyUI took.

    Args:
        lora: the LoRA.
        loaded: names that ComfyUI knows, as keys of `to_host_keys` or without their ending (the keys of ComfyUI's own
            key map).
        judged: the parts that `loaded` covers; None means all. A note names the others.
        base: ComfyUI's weights by name, to say by how much ComfyUI's DoRA differs from the trainer's.
        merged: the modules that are merged into their weights, with the reason; None means those that have no other
            form.
        misfits: the modules that were left out because they do not fit, as `check_fit` gives them.

    Raises LoraError, naming file and keys, when ComfyUI took nothing at all.
    """
    names, strange = set(loaded), {misfit.module: misfit.reason for misfit in misfits}
    parts = _parts(lora, names, judged, strange)
    if not any(part.matched for part in parts.values()):
        raise LoraError(
            f"no key of this {lora.dialect} LoRA for {lora.family or 'a text encoder'} matches the loaded model",
            path=lora.path,
            keys=[key for part in parts.values() for key in part.unmatched],
            remedy=f"Load a {lora.family or 'matching'} model, or choose a LoRA trained for the loaded one",
        )
    taken = [one for one in lora.adapters if one.module not in strange and is_loaded(one, names)]
    into = {one.module: reason for one in taken if (reason := _why(one, merged)) is not None}
    return LoadReport(
        path=str(lora.path),
        dialect=lora.dialect,
        family=lora.family,
        rank=lora.rank,
        alpha=lora.alpha,
        alpha_source=lora.alpha_source,
        step=lora.step,
        parts=parts,
        ignored=dict(lora.ignored),
        notes=(*lora.notes, *_not_judged(lora, judged)),
        norms=change_norms(fitting(lora, misfits)),
        warnings=(
            *_left_out(strange, len(lora.adapters)),
            *_not_loaded(parts, lora, strange),
            *lora.warnings,
            *_merging_warnings(lora, into, base),
        ),
        beside=len(taken) - len(into),
        merged=into,
        misfits=strange,
        modules=len(lora.adapters),
    )


def summary(report: LoadReport, **how: Any) -> dict[str, Any]:
    """A report cut down to what belongs into a picture's metadata: counts instead of long lists, no machine paths.

    `how` (run, strengths, active range …) is put first. Of the keys that did not match, and of the modules that did
    not fit, the first 20 are named; keys that were left out are counted by reason. `file` is the file's name and its
    folder's.
    """
    document = report.as_dict()
    path = Path(document.pop("path"))
    document["ignored"] = dict(Counter(report.ignored.values()))
    document["merged"] = dict(Counter(report.merged.values()))
    document["misfits"] = dict(islice(report.misfits.items(), _SHOWN_KEYS))
    document["parts"] = {
        name: {
            "matched": part.matched,
            "unmatched": len(part.unmatched),
            "unmatched_keys": list(part.unmatched[:_SHOWN_KEYS]),
        }
        for name, part in report.parts.items()
    }
    document["norms"] = {group: float(f"{norm:.4g}") for group, norm in report.norms.items()}
    return {**how, "file": f"{path.parent.name}/{path.name}", **document}


def _why(adapter: Adapter, merged: Mapping[str, str] | None) -> str | None:
    return why_merged(adapter) if merged is None else merged.get(adapter.module)


def _by_reason(what: str, reasons: Mapping[str, str]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        names[reason].append(name)
    return [f"{what}, {reason}: {len(found)} ({shorten(found, limit=3)})" for reason, found in names.items()]


def _parts(
    lora: Lora, names: Collection[str], judged: Collection[str] | None, misfits: Collection[str]
) -> dict[str, PartReport]:
    matched: dict[str, int] = defaultdict(int)
    unmatched: dict[str, list[str]] = defaultdict(list)
    for adapter in lora.adapters:
        part = adapter.target.part
        if judged is not None and part not in judged:
            continue
        if adapter.module not in misfits and is_loaded(adapter, names):
            matched[part] += len(adapter.keys)
        else:
            unmatched[part] += adapter.keys
    unmatched[_UNPLACED] += lora.unmatched
    return {
        part: PartReport(matched[part], tuple(unmatched[part]))
        for part in sorted({*matched, *unmatched}, key=_part_order)
        if matched[part] or unmatched[part]
    }


def _not_judged(lora: Lora, judged: Collection[str] | None) -> Iterator[str]:
    keys = Counter[str]()
    for adapter in lora.adapters:
        keys[adapter.target.part] += len(adapter.keys)
    for part in sorted(keys.keys() - set(keys if judged is None else judged), key=_part_order):
        yield f"{part} was not looked at: its {keys[part]} keys are neither loaded nor missing"


def _left_out(misfits: Mapping[str, str], modules: int) -> Iterator[str]:
    if misfits:
        reasons = shorten((f"{module} {reason}" for module, reason in misfits.items()), limit=3)
        yield f"modules that do not fit and were left out: {len(misfits)} of {modules}: {reasons}"


def _not_loaded(parts: Mapping[str, PartReport], lora: Lora, misfits: Collection[str]) -> Iterator[str]:
    named = {key for adapter in lora.adapters if adapter.module in misfits for key in adapter.keys}
    for name, part in parts.items():
        missing = [key for key in part.unmatched if key not in named]
        if missing:
            place = "of no module that the family has" if name == _UNPLACED else f"of {name}"
            yield f"{len(missing)} keys {place} were NOT loaded: {shorten(missing, limit=10)}"
    strange = [key for key, reason in lora.ignored.items() if reason in DROPPED]
    if strange:
        yield f"{len(strange)} tensors that are no part of an adapter were left out: {shorten(strange, limit=10)}"


def _merging_warnings(lora: Lora, merged: Collection[str], base: Mapping[str, Tensor] | None) -> Iterator[str]:
    """What ComfyUI does otherwise than the trainer where it merges."""
    into = [adapter for adapter in lora.adapters if adapter.module in merged]
    magnitudes = [one.tensors[kind] for one in into for kind in (DORA, MAGNITUDE) if kind in one.tensors]
    if any(magnitude.shape[0] != 1 for magnitude in magnitudes):
        yield "DoRA: ComfyUI divides per-row magnitudes by the norm of W, the trainers by that of W + change"
    if any(OFT in adapter.tensors for adapter in into):
        yield "OFT: ComfyUI applies the strength twice, so that 0.5 acts as 0.25 (1 is exact)"
    gaps = {} if base is None else dora_gaps(into, base)
    if gaps:
        module, gap = max(gaps.items(), key=lambda item: item[1])
        yield f"DoRA: ComfyUI's weights differ from the trainer's by up to {gap:.2g} of the change ({module})"


def change_norms(lora: Lora) -> dict[str, float]:
    """Frobenius norm of the change at strength 1 per group of blocks; what depends on the base is left out.

    For pairs |up @ down|² = sum of (upᵀup) ∘ (down downᵀ), and a Kronecker product's norm is the product of its
    factors', so that no full matrix is built for them.
    """
    squares: dict[str, float] = defaultdict(float)
    for adapter in lora.adapters:
        square = None if depends_on_base(adapter) else _squared_norm(adapter)
        if square is not None:
            squares[adapter.target.group] += adapter.scale**2 * square
    return {group: square**0.5 for group, square in squares.items()}


def _squared_norm(adapter: Adapter) -> float | None:
    """The squared norm of an adapter's unscaled change; None where it changes no weight."""
    if UP in adapter.tensors and MID not in adapter.tensors:
        up, down = adapter.tensors[UP].float().flatten(1), adapter.tensors[DOWN].float().flatten(1)
        return max(float(((up.mT @ up) * (down @ down.mT)).sum()), 0.0)
    if any(kind in LOKR for kind in adapter.tensors):
        tensors = {kind: tensor.float() for kind, tensor in adapter.tensors.items()}
        factors = (lycoris_factor(tensors, "lokr_w1", ""), lycoris_factor(tensors, "lokr_w2", "lokr_t2"))
        return float(factors[0].square().sum() * factors[1].square().sum())
    change = weight_change(adapter)
    return None if change is None else float(change.square().sum())


def is_loaded(adapter: Adapter, names: Collection[str]) -> bool:
    """Whether ComfyUI took the adapter's keys; `names` as `loaded` of `load_report`."""
    name = adapter.target.name
    if name in names or any(f"{name}.{kind}" in names for kind in adapter.tensors):
        return True
    return UP not in adapter.tensors and bias_name(adapter.target) in names


def _part_order(part: str) -> int:
    order = ("model", "clip_l", "clip_g", "t5xxl", _UNPLACED)
    return order.index(part)
