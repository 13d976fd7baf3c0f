"""Which step do I take: candidates ranked by votes, with what these votes leave open, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from ..errors import CompareError
from .votes import Candidate, Vote

if TYPE_CHECKING:
    from .bradley_terry import Fit

#: How many standard deviations an interval of 95 % reaches to both sides.
_Z: Final = 1.96
#: A candidate that is better than the best-looking one with more than this probability cannot be told apart from it.
_OPEN: Final = 0.05
#: More votes than this are not asked for: then the candidates are as good as equal.
_MANY: Final = 1000
#: The work grows with the square of the candidates, and with the voters: 600 candidates took 14 seconds and 0.7 GB.
MAX_CANDIDATES: Final = 200
MAX_VOTERS: Final = 20
#: Probability up to which something that chance alone would do is not put down to chance.
_UNLIKELY: Final = 0.05


@dataclass(frozen=True)
class Place:
    """One candidate in the ranking.

    Args:
        candidate: which.
        preferred, low, high: how often it is preferred to one of average strength, ties left out, and the interval of
            95 %; each 0..1.
        best: the probability that it is the best.
        wins, losses, ties: its comparisons.
    """

    candidate: Candidate
    preferred: float
    low: float
    high: float
    best: float
    wins: int
    losses: int
    ties: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        numbers = {name: round(getattr(self, name), 4) for name in ("preferred", "low", "high", "best")}
        counts = {name: getattr(self, name) for name in ("wins", "losses", "ties")}
        return {**_named(self.candidate), **numbers, **counts}


@dataclass(frozen=True)
class Ranking:
    """What votes say.

    Args:
        votes: how many there are.
        places: the candidates that were compared, the strongest first.
        open: candidates that cannot be told apart from the first, the first among them.
        more: how many more votes between these would settle it, if they are as far apart as they look; None where that
            is more than anybody would give, 0 where it is settled.
        groups: candidates of which each was compared with each, directly or over others; more than one group means that
            the groups cannot be compared.
        voters: name -> the ranking by this person's votes alone, where there are several.
        disagreements: who differs from the others, for people.
        notes: what else is to be known of these votes, for people.
    """

    votes: int
    places: tuple[Place, ...]
    open: tuple[Candidate, ...]
    more: int | None
    groups: tuple[tuple[Candidate, ...], ...]
    voters: dict[str, Ranking]
    disagreements: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def answer(self) -> str:
        """Which one to take, and how sure that is."""
        if not self.places:
            return "There are no votes yet."
        first = self.places[0]
        chance = f"{100 * first.best:.0f} %"
        if len(self.open) == 1:
            return f"Take {first.candidate.label}: the probability that it is the best is {chance}."
        others = _listed([one.label for one in self.open if one != first.candidate])
        said = f"{first.candidate.label} looks best (probability {chance}), but cannot be told apart from {others}."
        if self.more is None:
            return f"{_capital(said)} They are so alike that more votes will hardly tell: take any of them."
        votes = f"about {self.more} more vote{'s' * (self.more != 1)}"
        return f"{_capital(said)} If they are as far apart as they look now, {votes} between them would settle it."

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "votes": self.votes,
            "answer": self.answer,
            "places": [place.to_dict() for place in self.places],
            "open": [_named(one) for one in self.open],
            "more": self.more,
            "groups": [[_named(one) for one in group] for group in self.groups],
            "voters": {name: ranking.to_dict() for name, ranking in self.voters.items()},
            "disagreements": list(self.disagreements),
            "notes": list(self.notes),
        }


def rank(votes: Iterable[Vote]) -> Ranking:
    """Rank what was compared, all voters together, and each of several voters alone where they are not too many.

    Raises CompareError for more than MAX_CANDIDATES candidates.
    """
    votes = [vote for vote in votes if vote.vote is not None]
    names = sorted({vote.voter for vote in votes})
    if (count := len(_compared(votes))) > MAX_CANDIDATES:
        remedy = "Move the file of votes away, and vote on fewer steps."
        raise CompareError(f"votes on {count} candidates; {MAX_CANDIDATES} can be ranked", remedy=remedy)
    if len(names) > MAX_VOTERS:
        ranking = _rank(votes)
        note = f"{len(names)} people voted; of more than {MAX_VOTERS} nobody is ranked alone."
        return Ranking(**{**vars(ranking), "notes": (*ranking.notes, note)})
    alone = {name: [vote for vote in votes if vote.voter == name] for name in names}
    ranking = _rank(votes)
    if len(names) < 2:
        return ranking
    parts = {name: _rank(own) for name, own in alone.items()}
    told = _disagreements(votes, alone)
    return Ranking(**{**vars(ranking), "voters": parts, "disagreements": tuple(told)})


def _rank(votes: Sequence[Vote]) -> Ranking:
    candidates = sorted({side for vote in votes for side in (vote.left, vote.right)})
    if not candidates:
        return Ranking(0, (), (), 0, (), {}, (), ())
    from scipy.special import expit

    found = _fitted(votes, candidates)
    reach = _Z * found.deviations
    counts = _counts(votes)
    order = sorted(range(len(candidates)), key=lambda one: (-found.strengths[one], candidates[one]))
    shares = [expit(found.strengths + way * reach) for way in (0, -1, 1)]
    places = []
    for one in order:
        preferred, low, high = (float(share[one]) for share in shares)
        places.append(Place(candidates[one], preferred, low, high, float(found.best[one]), *counts[candidates[one]]))
    first = order[0]
    still = [one for one in order if one == first or found.stronger(one, first) > _OPEN]
    groups = _groups(votes, candidates)
    more = _more(found, first, [one for one in still if one != first])
    as_good, notes = tuple(candidates[one] for one in still), tuple(_notes(votes, groups))
    return Ranking(len(votes), tuple(places), as_good, more, groups, {}, (), notes)


def _fitted(votes: Iterable[Vote], candidates: Sequence[Candidate]) -> Fit:
    from .bradley_terry import fit

    number = {candidate: one for one, candidate in enumerate(candidates)}
    outcomes: dict[tuple[int, int], tuple[float, float, float]] = {}
    for vote in votes:
        one, other = number[vote.left], number[vote.right]
        chosen = {"left": 0, "right": 1, "tie": 2}[str(vote.vote)]
        if one > other:
            one, other, chosen = other, one, (1, 0, 2)[chosen]
        counts = list(outcomes.get((one, other), (0.0, 0.0, 0.0)))
        counts[chosen] += 1
        outcomes[one, other] = (counts[0], counts[1], counts[2])
    return fit(len(candidates), outcomes)


def _counts(votes: Iterable[Vote]) -> dict[Candidate, list[int]]:
    """Wins, losses and ties of each candidate."""
    counts: dict[Candidate, list[int]] = {}
    for vote in votes:
        for side, candidate in (("left", vote.left), ("right", vote.right)):
            which = 2 if vote.vote == "tie" else 0 if vote.vote == side else 1
            counts.setdefault(candidate, [0, 0, 0])[which] += 1
    return counts


def _more(found: Fit, first: int, others: Sequence[int]) -> int | None:
    """Votes until none of `others` can be better than `first`, each pair alone, if they differ as they look now."""
    from scipy.stats import norm

    total = 0.0
    for other in others:
        apart, variance = found.difference(first, other)
        wanted = (apart / norm.ppf(1 - _OPEN)) ** 2
        if wanted <= 0:
            return None
        total += max(0.0, 1 / wanted - 1 / variance) / found.information(first, other)
        if total > _MANY:
            return None
    return round(total + 0.5) if others else 0


def _groups(votes: Iterable[Vote], candidates: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], ...]:
    """Candidates that are linked by comparisons, the largest group first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    number = {candidate: one for one, candidate in enumerate(candidates)}
    pairs = [(number[vote.left], number[vote.right]) for vote in votes]
    rows, columns = zip(*pairs, strict=True)
    size = len(candidates)
    count, labels = connected_components(coo_matrix(([1] * len(pairs), (rows, columns)), (size, size)), directed=False)
    groups = [tuple(one for one, label in zip(candidates, labels, strict=True) if label == at) for at in range(count)]
    return tuple(sorted(groups, key=lambda group: (-len(group), group)))


def _notes(votes: Sequence[Vote], groups: Sequence[Sequence[Candidate]]) -> list[str]:
    """Groups that were never compared, and a side that was preferred as such."""
    from scipy.stats import binomtest

    notes = []
    if len(groups) > 1:
        shown = "; ".join(_listed([one.label for one in group]) for group in groups)
        one, other = groups[0][0].label, groups[1][0].label
        notes.append(
            f"These were never compared with each other, so that nothing tells which group is better: {shown}. "
            f"Compare, for example, {one} with {other}."
        )
    left = sum(vote.vote == "left" for vote in votes)
    decided = sum(vote.vote != "tie" for vote in votes)
    if decided and binomtest(left, decided).pvalue < _UNLIKELY / 5:
        side, count = ("left", left) if 2 * left > decided else ("right", decided - left)
        notes.append(f"The {side} picture was chosen in {count} of {decided} votes, whatever it showed.")
    return notes


def _disagreements(votes: Sequence[Vote], alone: dict[str, list[Vote]]) -> list[str]:
    """For each voter the candidates about which the others think the opposite, beyond what chance explains."""
    from scipy.stats import norm

    told = []
    for name, own in alone.items():
        rest = [vote for vote in votes if vote.voter != name]
        both = sorted(_compared(own) & _compared(rest))
        mine, theirs = (_fitted(_among(part, both), both) for part in (own, rest)) if len(both) > 1 else (None, None)
        if mine is None or theirs is None:
            continue
        pairs = list(combinations(range(len(both)), 2))
        worst, apart = None, float(-norm.ppf(_UNLIKELY / len(pairs) / len(alone) / 2))
        for one, other in pairs:
            (first, own_variance), (second, their_variance) = (part.difference(one, other) for part in (mine, theirs))
            score = abs(first - second) / (own_variance + their_variance) ** 0.5
            if first * second < 0 and score > apart:
                worst, apart = ((one, other) if first > 0 else (other, one)), score
        if worst is not None:
            liked, disliked = both[worst[0]].label, both[worst[1]].label
            told.append(f"{name or 'Somebody without a name'} prefers {liked} to {disliked}, and the others do not.")
    return told


def _compared(votes: Iterable[Vote]) -> set[Candidate]:
    return {side for vote in votes for side in (vote.left, vote.right)}


def _among(votes: Iterable[Vote], candidates: Sequence[Candidate]) -> list[Vote]:
    return [vote for vote in votes if vote.left in candidates and vote.right in candidates]


def _named(candidate: Candidate) -> dict[str, Any]:
    return {"candidate": candidate.label, **candidate.to_dict()}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
