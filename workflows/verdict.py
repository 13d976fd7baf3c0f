"""How a config's pictures will compare with the trainer's, said first: concluded from what is claimed of each topic.

It fails closed. "Same picture" and "close: up to N" need one run of the trainer's own code that shows every topic which
makes the picture; what was only read, or checked part by part, can be no more than expected.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from ..spec import SampleSpec
from ..trainers.claims import OF_SAMPLING, RUNS, Kind
from .parity import Match

Outcome = Literal["same picture", "close", "expected the same", "expected close", "different", "not checked"]


@dataclass(frozen=True)
class Reason:
    """Topics with one cause. kind: what is claimed of them. text: why, "" where the kind says it all."""

    topics: tuple[str, ...]
    kind: Kind
    text: str


@dataclass(frozen=True)
class Verdict:
    """How the pictures will compare.

    Args:
        outcome: "same picture" and "close" were seen in a run of the trainer's code; the expected ones were not run.
        pixels: the largest difference in that run, of 255; None for all other outcomes.
        reasons: what keeps it from being "same picture", by cause.
    """

    outcome: Outcome
    pixels: int | None
    reasons: tuple[Reason, ...]

    @property
    def text(self) -> str:
        """The verdict as people read it: one line, without a full stop."""
        topics: dict[Kind, list[str]] = {}
        for reason in sorted(self.reasons, key=lambda one: one.kind not in _PLAIN):
            topics.setdefault(reason.kind, []).extend(reason.topics)
        reasons = "; ".join(_said(kind, list(dict.fromkeys(topics[kind]))) for kind in topics)
        return _SENTENCES[self.outcome].format(pixels=self.pixels, reasons=reasons)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, JSON types only."""
        return {**asdict(self), "reasons": [_listed(reason) for reason in self.reasons], "text": self.text}


_SENTENCES: Final[dict[Outcome, str]] = {
    "same picture": "Same picture, where ComfyUI computes in float32: the trainer's own code was run beside it",
    "close": "Close: up to {pixels} of 255, as the trainer's own code that was run beside it ({reasons})",
    "expected the same": "Expected the same, not run: {reasons}",
    "expected close": "Expected close, not run: {reasons}",
    "different": "Different because of {reasons}",
    "not checked": "Not known: nobody has compared {reasons} with the trainer",
}
_PLAIN: Final = frozenset(("close", "different", "not checked"))
#: What a run in float32 does not show, where a trainer's way of computing was only read.
_HALF: Final = "The trainer computes in half precision, and what that rounds was not compared"


def verdict(spec: SampleSpec, matches: Sequence[Match]) -> Verdict:
    """What `parity.explain` found of a spec, in one word; file names do not count."""
    seen = [_half(spec, match) for match in matches if match.topic in OF_SAMPLING]
    kinds = {match.kind for match in seen}
    for kind in ("different", "not checked"):
        if kind in kinds:
            return Verdict(kind, None, _reasons(seen, {kind}))
    close = [match for match in seen if match.kind == "close"]
    if kinds <= {"exact", "close"} and _one_run(seen):
        pixels = [match.pixels for match in close if match.pixels is not None]
        if not close:
            return Verdict("same picture", None, ())
        if len(pixels) == len(close):
            return Verdict("close", max(pixels), _reasons(seen, {"close"}))
    return Verdict(
        "expected close" if close else "expected the same", None, _reasons(seen, kinds - {"exact"} or {"exact"})
    )


def _half(spec: SampleSpec, match: Match) -> Match:
    """A claim on precision that was only read is no more than "close" where the trainer computes in half precision."""
    only_read = match.topic == "precision" and match.kind not in ("exact", "close", "different", "not checked")
    return replace(match, kind="close", cause=_HALF) if only_read and spec.precision != "float32" else match


def _said(kind: Kind, topics: Sequence[str]) -> str:
    """The topics of a kind, and what is claimed of them where the sentence around it does not say it."""
    if kind == "exact":
        return "each part was checked by itself"
    listed = "all" if len(topics) == len(OF_SAMPLING) else ", ".join(topics)
    return listed if kind in _PLAIN else f"{listed} only {kind}"


def _one_run(matches: Sequence[Match]) -> bool:
    """Whether one and the same run of the trainer's code shows all of these."""
    shown = [{name for name in match.checked.split(", ") if name.startswith(RUNS)} for match in matches]
    return bool(shown and set.intersection(*shown))


def _reasons(matches: Sequence[Match], kinds: Collection[Kind]) -> tuple[Reason, ...]:
    """The topics of these kinds, those with one cause together."""
    causes: dict[tuple[Kind, str], dict[str, None]] = {}
    for match in matches:
        if match.kind in kinds:
            causes.setdefault((match.kind, match.cause), {})[match.topic] = None
    return tuple(Reason(tuple(topics), kind, text) for (kind, text), topics in causes.items())


def _listed(reason: Reason) -> dict[str, Any]:
    return {**asdict(reason), "topics": list(reason.topics)}
