"""Measures and ranking of a run as numbers of its training steps, for TensorBoard, W&B and SerenityBoard."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..compare.collection import read_collection
from ..compare.measures import Known, means, measure, write_measures
from ..compare.ranking import Ranking, rank
from ..compare.votes import read_votes, votes_file
from ..errors import CompareError, ImagesError

#: Training step -> name -> number.
Numbers = dict[int, dict[str, float]]


class NumbersLog(Protocol):
    """Where numbers are written."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of a training step, name -> value."""


def of_measures(shown: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Numbers:
    """Measures as `compare.measures.means` gives them; those of an unknown step have no place."""
    found: Numbers = {}
    for name, variants in shown.items():
        for key, steps in variants.items():
            for step, value in steps.items():
                if step >= 0:
                    found.setdefault(step, {})["/".join(filter(None, ("measures", key, name)))] = value
    return found


def of_ranking(ranking: Ranking) -> Numbers:
    """How often each step is preferred, and how probable it is that none is better."""
    found: Numbers = {}
    for place in ranking.places:
        part = "".join(f"/{name}={value}" for name, value in place.candidate.axes)
        tags = {f"ranking{part}/preferred": place.preferred, f"ranking{part}/probability_of_best": place.best}
        if place.candidate.step >= 0:
            found.setdefault(place.candidate.step, {}).update(tags)
    return found


class WatchedNumbers:
    """The measures and the ranking of a run that is watched; `write` brings them up to date.

    Args:
        root: The run's folder of pictures.
        run: The run's folder of checkpoints, where the sidebar keeps votes.
        measured: Whether to measure.
        logs: Where numbers that are new go.
        steps: Training steps whose measures go there.
        tell: Told what keeps it from being done.
    """

    def __init__(
        self, root: Path, run: Path, measured: bool, logs: Sequence[NumbersLog], steps: Container[int],
        tell: Callable[[str], object],
    ) -> None:  # fmt: skip
        self._root, self._run, self._measured = root, run, measured
        self._logs, self._steps, self._tell = logs, steps, tell
        self._known: Known = {}
        self._written: Numbers = {}

    def write(self) -> None:
        """Measure the pictures that were not measured before, and log what is another number than it was."""
        for work in (self._measures, self._ranking):
            try:
                self._log(work())
            except (CompareError, ImagesError, OSError) as error:  # the pictures go on
                self._tell(str(error))

    def _measures(self) -> Numbers:
        if not (self._measured and self._root.is_dir()):
            return {}
        found = read_collection(self._root)
        values = measure(found, known=self._known)
        write_measures(found, values)
        return {step: numbers for step, numbers in of_measures(means(values)).items() if step in self._steps}

    def _ranking(self) -> Numbers:
        if not self._logs:
            return {}
        votes = [vote for place in (self._root, self._run) for vote in read_votes(votes_file(place))]
        return of_ranking(rank(dict.fromkeys(votes)))

    def _log(self, numbers: Numbers) -> None:
        for step, values in sorted(numbers.items()):
            before = self._written.setdefault(step, {})
            fresh = {name: value for name, value in values.items() if before.get(name) != value}
            before |= fresh
            for log in self._logs if fresh else ():
                log.numbers(step, fresh)
