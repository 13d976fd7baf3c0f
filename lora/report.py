"""What happened to every key of a LoRA file: matched or not, per part of the pipeline, and how strong the change is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .adapter import Adapter
from .convert import bias_name
from .errors import LoraError, shorten
from .reader import Lora
from .suffixes import DOWN, MID, UP

_UNPLACED = "unknown"


@dataclass(frozen=True)
class PartReport:
    """One part of the pipeline: how many file keys the host took, and which ones it did not."""

    matched: int
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class LoadReport:
    """What a LoRA file is and what of it arrived in the host; `as_text` for people, `as_dict` for machines.

    `parts`: "model", "clip_l", "clip_g", "t5xxl", and "unknown" for keys that name no module of the family. `norms`:
    Frobenius norm of the change at strength 1, per group of blocks (plain low-rank pairs only).
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

    @property
    def matched(self) -> int:
        """File keys that the host took, all parts together."""
        return sum(part.matched for part in self.parts.values())

    @property
    def unmatched(self) -> tuple[str, ...]:
        """File keys that the host did not take, all parts together."""
        return tuple(key for part in self.parts.values() for key in part.unmatched)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, ready for JSON."""
        return {**asdict(self), "matched": self.matched}

    def as_text(self) -> str:
        """A few lines for a person: what the file is, what matched, what did not (by name), what was left out."""
        step = "unknown" if self.step is None else str(self.step)
        scale = "" if self.rank is None else f", rank {self.rank}, alpha {self.alpha:g} (from: {self.alpha_source})"
        lines = [self.path, f"{self.dialect}, {self.family or 'text encoder only'}, step {step}{scale}"]
        for name, part in self.parts.items():
            total = part.matched + len(part.unmatched)
            lines.append(f"{name}: {part.matched} of {total} keys loaded")
            if part.unmatched:
                lines.append(f"  NOT loaded: {shorten(part.unmatched, limit=10)}")
        reasons: dict[str, list[str]] = defaultdict(list)
        for key, reason in self.ignored.items():
            reasons[reason].append(key)
        lines += [f"left out, {reason}: {len(keys)} ({shorten(keys, limit=3)})" for reason, keys in reasons.items()]
        if self.norms:
            lines.append("change: " + ", ".join(f"{group} {norm:.3g}" for group, norm in self.norms.items()))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def load_report(lora: Lora, loaded: Collection[str]) -> LoadReport:
    """Compare what the LoRA holds with what the host took.

    `loaded`: names that the host knows, as keys of `to_host_keys` or the same without their ending (the keys of the
    host's own key map). Raises LoraError, naming file and keys, when the host took nothing at all.
    """
    names = set(loaded)
    matched: dict[str, int] = defaultdict(int)
    unmatched: dict[str, list[str]] = defaultdict(list)
    for adapter in lora.adapters:
        part = adapter.target.part
        if _is_loaded(adapter, names):
            matched[part] += len(adapter.keys)
        else:
            unmatched[part] += adapter.keys
    unmatched[_UNPLACED] += lora.unmatched
    parts = {
        part: PartReport(matched[part], tuple(unmatched[part]))
        for part in sorted({*matched, *unmatched}, key=_part_order)
        if matched[part] or unmatched[part]
    }
    if not any(part.matched for part in parts.values()):
        raise LoraError(
            f"no key of this {lora.dialect} LoRA for {lora.family or 'a text encoder'} matches the loaded model",
            path=lora.path,
            keys=[key for part in parts.values() for key in part.unmatched],
            remedy=f"Load a {lora.family or 'matching'} model, or choose a LoRA trained for the loaded one",
        )
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
        notes=lora.notes,
        norms=change_norms(lora),
    )


def change_norms(lora: Lora) -> dict[str, float]:
    """Frobenius norm of the change at strength 1 per group of blocks, from the low-rank factors alone.

    Uses |up @ down|² = sum of (upᵀup) ∘ (down downᵀ), so no full matrix is ever built. Modules that are not plain pairs
    are left out.
    """
    squares: dict[str, float] = defaultdict(float)
    for adapter in lora.adapters:
        if UP in adapter.tensors and MID not in adapter.tensors:
            up, down = (adapter.tensors[kind].float().flatten(1) for kind in (UP, DOWN))
            square = torch.sum((up.T @ up) * (down @ down.T)).clamp_min(0.0)
            squares[adapter.target.group] += adapter.scale**2 * float(square)
    return {group: square**0.5 for group, square in squares.items()}


def _is_loaded(adapter: Adapter, names: Collection[str]) -> bool:
    name = adapter.target.name
    if name in names or any(f"{name}.{kind}" in names for kind in adapter.tensors):
        return True
    return UP not in adapter.tensors and bias_name(adapter.target) in names


def _part_order(part: str) -> int:
    order = ("model", "clip_l", "clip_g", "t5xxl", _UNPLACED)
    return order.index(part)
