"""Several training steps of a run at once, for sweeps: "all", "0, 250, 500", "250-1000", spread over a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..errors import LoraError, shorten
from .checkpoints import Checkpoint, refuse_several_runs

ALL = "all"
_GRAMMAR = "Write 'all', steps like '0, 250, 500', or ranges like '250-1000', '500-' or '-500'"
_RANGE = re.compile(r"(?P<first>\d*)\s*-\s*(?P<last>\d*)$")
#: Most letters of a step or range; Python reads no number of more than 4300 digits.
_LONGEST = 100


def known_steps(checkpoints: Iterable[Checkpoint]) -> list[int]:
    """The training steps of a run's checkpoints, ascending, each once. Those of unknown step are left out.

    Raises LoraError when the checkpoints belong to several runs.
    """
    entries = list(checkpoints)
    refuse_several_runs(entries)
    return sorted({entry.step for entry in entries if entry.step is not None})


def select_steps(checkpoints: Iterable[Checkpoint], text: str = ALL) -> list[int]:
    """Return the training steps that `text` names among a run's checkpoints, ascending, each once.

    `text` is "all", a number, or a range of saved steps with both ends included and either end open, or several of
    these joined by commas. 0 may be named even when it was not saved: it is the model before training. Raises LoraError
    for other texts, for a number that was not saved and for a range without a saved step. The text lists the saved
    steps.
    """
    steps = known_steps(checkpoints)
    chosen: set[int] = set()
    for part in text.split(","):
        chosen.update(_part(part.strip(), steps))
    return sorted(chosen)


def spread(steps: Sequence[int], count: int) -> list[int]:
    """Return at most `count` (2 or more) of the ascending `steps`, evenly spread by position, with first and last."""
    if count < 2:
        raise ValueError(f"count must be at least 2, not {count}")
    if len(steps) <= count:
        return list(steps)
    return [steps[round(number * (len(steps) - 1) / (count - 1))] for number in range(count)]


def _part(part: str, steps: Sequence[int]) -> Sequence[int]:
    if part == ALL:
        return steps if steps else _none(steps, "no checkpoint of a known step")
    if len(part) > _LONGEST:
        raise LoraError(f"steps: cannot read {part[:_LONGEST]!r}...", remedy=_GRAMMAR)
    if part.isdecimal():
        wanted = int(part)
        return [wanted] if wanted == 0 or wanted in steps else _none(steps, f"no checkpoint of step {wanted}")
    match = _RANGE.match(part)
    if match is None or part == "-":
        raise LoraError(f"steps: cannot read {part!r}", remedy=_GRAMMAR)
    first, last = int(match["first"] or 0), int(match["last"]) if match["last"] else None
    inside = [step for step in steps if step >= first and (last is None or step <= last)]
    return inside if inside else _none(steps, f"no checkpoint in the range {part}")


def _none(steps: Sequence[int], message: str) -> list[int]:
    there = shorten(map(str, steps), limit=20) if steps else "none of a known step"
    raise LoraError(message, remedy=f"Steps there are: {there}")
