"""Votes of blind comparisons: which of two pictures of a prompt and seed somebody prefers, kept in `votes.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import CompareError
from ..workflows.run_memory import memory_file
from .axes import shown
from .json_lines import VERSION, append_lines, read_lines

FILE: Final = "votes.jsonl"
#: Which picture was preferred; None takes the vote back that the same person gave at the same moment.
Choice = Literal["left", "right", "tie"] | None
_CHOICES: Final = ("left", "right", "tie", None)
_REMEDY: Final = "Mend the line, or take it out."


@dataclass(frozen=True, order=True)
class Candidate:
    """What is chosen among: a training step (0 = no LoRA, -1 = the newest, of unknown step), and values of a sweep."""

    step: int
    axes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, step: int | None, axes: Mapping[str, Any] | None = None) -> Candidate:
        """The candidate of these values, by name."""
        values = sorted((name, shown(value)) for name, value in (axes or {}).items())
        return cls(-1 if step is None else step, tuple(values))

    @property
    def label(self) -> str:
        """As people read it."""
        step = {0: "without LoRA", -1: "newest checkpoint"}.get(self.step, f"step {self.step}")
        return ", ".join([step, *(f"{name} {value}" for name, value in self.axes)])

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a line."""
        return {"step": None if self.step == -1 else self.step, "axes": dict(self.axes)}


@dataclass(frozen=True)
class Vote:
    """One comparison.

    Args:
        run: the run's name.
        voter: who voted, "" = nobody said.
        made: when, ISO 8601; with the voter it tells one vote from another.
        item: index of the prompt.
        seed: of both pictures, None = not known.
        left, right: what was shown where.
        vote: what was chosen.
    """

    run: str
    voter: str
    made: str
    item: int
    seed: int | None
    left: Candidate
    right: Candidate
    vote: Choice

    def to_dict(self) -> dict[str, Any]:
        """The line of this vote."""
        sides = {"left": self.left.to_dict(), "right": self.right.to_dict()}
        about = {"run": self.run, "voter": self.voter, "made": self.made, "item": self.item, "seed": self.seed}
        return {"version": VERSION, **about, **sides, "vote": self.vote}


def votes_file(place: Path) -> Path:
    """The file of votes of the run at `place`, see `memory_file`."""
    return memory_file(place, FILE)


def read_votes(path: Path, run: str | None = None) -> list[Vote]:
    """All votes in a file but those that were taken back; none where there is no file.

    run: the only run that they may be of, None = that of the first. Raises CompareError, with file and line.
    """
    found: dict[tuple[str, str], Vote] = {}
    for vote in _given(path, run):
        key = vote.voter, vote.made
        if vote.vote is None:
            found.pop(key, None)
        else:
            found[key] = vote
    return list(found.values())


def _given(path: Path, run: str | None) -> Iterator[Vote]:
    """All votes in a file as `read_votes` has them, those that take one back among them."""
    for number, document in read_lines(path):
        vote = vote_of(document, f"{path}, line {number}")
        run = vote.run if run is None else run
        if vote.run != run:
            problem = f"the vote is of the run {vote.run!r}, and not of {run!r}"
            raise CompareError(problem, place=f"{path}, line {number}", remedy="Give each run its own votes.")
        yield vote


def vote_of(document: Mapping[str, Any], place: str) -> Vote:
    """A vote from its line; CompareError where it is none."""
    try:
        left, right = (Candidate.of(_step(side["step"]), side.get("axes")) for side in _sides(document))
        run, item, seed, vote = (document[name] for name in ("run", "item", "seed", "vote"))
        voter, made = document.get("voter", ""), document["made"]
        texts, numbers = (run, voter, made), (item, 0 if seed is None else seed)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise ValueError("a field is of another type")
        if vote not in _CHOICES:
            raise ValueError(f"{vote!r} is no vote")
        if left == right:
            raise ValueError("both sides are the same")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CompareError(f"it is no vote ({said})", place=place, remedy=_REMEDY) from error
    return Vote(run, voter.strip(), made, item, seed, left, right, vote)


def add_votes(path: Path, votes: Iterable[Vote], run: str) -> int:
    """Write votes that the file does not have yet, and return how many these were.

    Raises CompareError where one, or the file itself, is of another run than `run`; then nothing is written.
    """
    votes = list(votes)
    if other := next((vote for vote in votes if vote.run != run), None):
        raise CompareError(
            f"the votes are of the run {other.run!r}, and this is {run!r}",
            place=str(path), remedy="Add them to the votes of their own run.",
        )  # fmt: skip
    there = set(_given(path, run))
    fresh = [vote for vote in dict.fromkeys(votes) if vote not in there]
    if fresh:
        append_lines(path, [vote.to_dict() for vote in fresh])
    return len(fresh)


def _sides(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return document["left"], document["right"]


def _step(value: object) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"{value!r} is no training step")
