"""The ranking by votes, beside a published worked example and choix; what few, split and opposite votes leave open."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np
import pytest

from comfyui_eridiffusion.compare.bradley_terry import PRIOR, fit
from comfyui_eridiffusion.compare.ranking import MAX_CANDIDATES, MAX_VOTERS, Ranking, rank
from comfyui_eridiffusion.compare.votes import Candidate, Vote
from comfyui_eridiffusion.errors import CompareError

#: Davidson, JASA 65, 1970: six brands of chocolate pudding, (i, j, i preferred, j preferred, ties), and his estimates,
#: as the vignette of the R package PlackettLuce gives both (hturner/PlackettLuce, articles/Overview.md, section 2.1).
PUDDINGS = [
    (1, 2, 19, 22, 16), (1, 3, 16, 19, 12), (2, 3, 19, 19, 10), (1, 4, 18, 23, 13), (2, 4, 23, 19, 9),
    (3, 4, 19, 20, 15), (1, 5, 13, 19, 18), (2, 5, 16, 20, 12), (3, 5, 16, 15, 17), (4, 5, 17, 14, 16),
    (1, 6, 18, 21, 12), (2, 6, 22, 20, 12), (3, 6, 13, 18, 10), (4, 6, 14, 19, 18), (5, 6, 11, 21, 12),
]  # fmt: skip
WORTHS = [0.1388005, 0.1729985, 0.1617420, 0.1653930, 0.1586805, 0.2023855]
TIES = 0.7468147
#: Comparisons drawn from known strengths: (preferred, other).
STRENGTHS = [0.0, -1.2, 0.4, 1.5, 0.9, -0.3]


def duels(count: int, seed: int = 3) -> list[tuple[int, int]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        one, other = draw.sample(range(len(STRENGTHS)), 2)
        won = draw.random() < 1 / (1 + math.exp(STRENGTHS[other] - STRENGTHS[one]))
        found.append((one, other) if won else (other, one))
    return found


def counted(won: Iterable[tuple[int, int]]) -> dict[tuple[int, int], tuple[float, float, float]]:
    found: dict[tuple[int, int], tuple[float, float, float]] = {}
    for winner, loser in won:
        first, second, _ = found.get((winner, loser), (0, 0, 0))
        found[winner, loser] = (first + 1, second, 0)
    return found


def votes(*given: tuple[int, int, str], voter: str = "") -> list[Vote]:
    """(step on the left, step on the right, what was chosen) each."""
    return [
        Vote("run", voter, f"{number}", 0, 7, Candidate(left), Candidate(right), choice)  # type: ignore[arg-type]
        for number, (left, right, choice) in enumerate(given)
    ]


def steps(found: Ranking) -> list[int]:
    return [place.candidate.step for place in found.places]


def test_davidsons_puddings() -> None:
    """With next to no prior, as he had none. His iterations, and the vignette's, stop before they have converged."""
    found = fit(6, {(i - 1, j - 1): (first, second, ties) for i, j, first, second, ties in PUDDINGS}, prior=100.0)
    worths = np.exp(found.strengths) / np.exp(found.strengths).sum()
    assert worths == pytest.approx(WORTHS, abs=1e-4)
    assert found.ties is not None
    assert math.exp(found.ties) == pytest.approx(TIES, abs=1e-4)


@pytest.mark.parametrize("count", [3, 40, 400])
def test_choix_finds_the_same(count: int) -> None:
    """Its maximum with the same penalty; its posterior by expectation propagation, another approximation than ours."""
    choix = pytest.importorskip("choix")
    won, size = duels(count), len(STRENGTHS)
    found = fit(size, counted(won))
    theirs = choix.opt_pairwise(size, won, alpha=1 / (2 * PRIOR**2))
    assert found.strengths == pytest.approx(theirs - theirs.mean(), abs=1e-5)
    _, covariance = choix.ep_pairwise(size, won, 1 / PRIOR**2, model="logit")
    centre = np.eye(size) - 1 / size
    assert found.deviations == pytest.approx(np.sqrt(np.diag(centre @ covariance @ centre)), rel=0.12)


def test_two_candidates_by_hand() -> None:
    """The posterior of their difference d, on a grid: d ~ N(0, 2 PRIOR^2), and 7 of 9 votes."""
    d = np.linspace(-15, 15, 20001)
    log = -(d**2) / (4 * PRIOR**2) - 7 * np.logaddexp(0, -d) - 2 * np.logaddexp(0, d)
    weight = np.exp(log - log.max())
    better = weight[d > 0].sum() / weight.sum()
    found = rank(votes(*[(100, 200, "left")] * 7, *[(100, 200, "right")] * 2))
    assert steps(found) == [100, 200]
    assert found.places[0].best == pytest.approx(better, abs=0.02)
    assert (found.places[0].wins, found.places[0].losses, found.places[0].ties) == (7, 2, 0)


def test_sides_do_not_matter() -> None:
    one = rank(votes((100, 200, "left"), (300, 200, "right"), (100, 300, "tie")))
    other = rank(votes((200, 100, "right"), (200, 300, "left"), (300, 100, "tie")))
    assert [vars(place) for place in one.places] == [vars(place) for place in other.places]


def test_one_that_won_everything_is_finite_and_few_votes_settle_nothing() -> None:
    found = rank(votes((100, 200, "left"), (300, 100, "right")))
    assert steps(found)[0] == 100
    assert found.places[0].high < 1
    assert found.places[0].low < 0.5  # two votes may be chance
    assert len(found.open) == 3
    assert found.more
    assert "looks best" in found.answer
    assert "cannot be told apart from" in found.answer


def test_clear_votes_say_what_to_take() -> None:
    found = rank(votes(*[(100, 200, "left"), (300, 100, "right"), (200, 300, "tie")] * 10))
    assert found.open == (Candidate(100),)
    assert found.more == 0
    assert found.answer.startswith("Take step 100: the probability that it is the best is ")


def test_only_ties_say_nothing() -> None:
    found = rank(votes(*[(100, 200, "tie")] * 30))
    assert [place.preferred for place in found.places] == pytest.approx([0.5, 0.5])
    assert found.more is None
    assert "take any of them" in found.answer


def test_no_votes() -> None:
    assert rank([]).answer == "There are no votes yet."


@pytest.mark.parametrize("share", [0.65, 0.75])
def test_so_many_more_votes_do_settle_it(share: float) -> None:
    """Where they go on in the same proportion: the estimate is enough, and half of it is not."""

    def cast(count: int) -> list[Vote]:
        wins = round(share * count)
        return votes(*[(100, 200, "left")] * wins, *[(100, 200, "right")] * (count - wins))

    had = 12
    more = rank(cast(had)).more
    assert more
    assert len(rank(cast(had + more // 2)).open) == 2
    assert len(rank(cast(round(1.5 * (had + more)))).open) == 1


def test_what_was_never_compared_is_told() -> None:
    found = rank(votes(*[(100, 200, "left")] * 9, *[(300, 400, "left")] * 9))
    assert found.groups == ((Candidate(100), Candidate(200)), (Candidate(300), Candidate(400)))
    assert "never compared with each other" in found.notes[0]
    assert "step 100 with step 300" in found.notes[0]
    assert {Candidate(100), Candidate(300)} <= set(found.open)


def test_voters_that_disagree_are_told_and_those_that_agree_are_not() -> None:
    anna = votes(*[(100, 200, "left")] * 14, *[(100, 200, "right")] * 2, voter="Anna")
    ben = votes(*[(100, 200, "right")] * 13, *[(100, 200, "left")] * 2, voter="Ben")
    found = rank([*anna, *ben])
    assert {name: steps(own) for name, own in found.voters.items()} == {"Anna": [100, 200], "Ben": [200, 100]}
    assert found.disagreements == (
        "Anna prefers step 100 to step 200, and the others do not.",
        "Ben prefers step 200 to step 100, and the others do not.",
    )
    chance = votes((100, 200, "right"), (100, 200, "left"), voter="Ben")
    assert rank([*anna, *chance]).disagreements == ()


def test_votes_that_would_take_minutes_are_not_ranked() -> None:
    """A file of half a megabyte can name thousands of candidates or of voters."""
    with pytest.raises(CompareError, match=f"votes on {MAX_CANDIDATES + 1} candidates; {MAX_CANDIDATES} can be ranked"):
        rank(votes(*[(0, step, "left") for step in range(1, MAX_CANDIDATES + 1)]))
    crowd = [votes((100, 200, "left"), voter=f"V{number}")[0] for number in range(MAX_VOTERS + 1)]
    found = rank(crowd)
    assert (steps(found), found.places[0].wins, found.places[1].losses) == ([100, 200], len(crowd), len(crowd))
    assert found.voters == {}
    assert f"{len(crowd)} people voted" in found.notes[-1]


def test_a_side_that_is_always_chosen_is_told() -> None:
    found = rank(votes(*[(100, 200, "left"), (200, 100, "left")] * 6))
    assert found.notes == ("The left picture was chosen in 12 of 12 votes, whatever it showed.",)
