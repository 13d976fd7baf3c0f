"""The Bradley-Terry model of paired comparisons, with ties as Davidson has them, fitted by scipy.

Bradley and Terry, Rank analysis of incomplete block designs, Biometrika 39, 1952; Davidson, On extending the
Bradley-Terry model to accommodate ties, JASA 65, 1970: with strengths p = exp(theta), i is preferred to j, j to i, and
neither, in proportion to p_i, p_j and nu sqrt(p_i p_j). Without ties nu is 0, and this is Bradley and Terry's model.

Each theta, and log nu, has a normal prior around 0. So one that won every comparison stays finite, and one that has few
stays uncertain. The posterior is taken as normal around its maximum, with the inverse of the Hessian there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

#: Standard deviation of the prior: of two candidates that nobody compared, the better one is then preferred in 57 to 97
#: of 100 comparisons, with a probability of 80 %.
PRIOR: Final = 1.5
#: How often the posterior is drawn from, to count who is the best.
_DRAWS: Final = 40_000


@dataclass(frozen=True)
class Fit:
    """Strengths of candidates 0, 1, …, as differences from their mean, and what is not known of them.

    Args:
        strengths: [n], log odds.
        covariance: [n, n] of these.
        ties: log nu, None where there were no ties.
    """

    strengths: Array
    covariance: Array
    ties: float | None

    @property
    def deviations(self) -> Array:
        """Standard deviation of each strength."""
        import numpy as np

        return np.sqrt(np.clip(np.diag(self.covariance), 0, None))

    @cached_property
    def best(self) -> Array:
        """The probability that a candidate is the strongest, for each."""
        import numpy as np

        random = np.random.default_rng(0)
        drawn = random.multivariate_normal(self.strengths, self.covariance, _DRAWS, method="eigh")
        return np.bincount(drawn.argmax(axis=1), minlength=len(self.strengths)) / _DRAWS

    def difference(self, one: int, other: int) -> tuple[float, float]:
        """By how much `one` is stronger than `other`, and the variance of that."""
        cov = self.covariance
        variance = cov[one, one] + cov[other, other] - 2 * cov[one, other]
        return float(self.strengths[one] - self.strengths[other]), float(variance)

    def stronger(self, one: int, other: int) -> float:
        """The probability that `one` is stronger than `other`."""
        from scipy.stats import norm

        apart, variance = self.difference(one, other)
        return float(norm.cdf(apart / variance**0.5)) if variance > 0 else float(apart > 0)

    def information(self, one: int, other: int) -> float:
        """What one more comparison of these tells of their difference, in units of 1 / variance."""
        import numpy as np
        from scipy.special import softmax

        first, second = self.strengths[one], self.strengths[other]
        logs = [first, second] if self.ties is None else [first, second, (first + second) / 2 + self.ties]
        # The log odds of an outcome grow by half of the difference, fall by as much, and, of a tie, stay.
        chances, growth = softmax(np.array(logs)), np.array([0.5, -0.5, 0.0])[: len(logs)]
        return float((chances * growth**2).sum() - (chances * growth).sum() ** 2)


def fit(count: int, outcomes: Mapping[tuple[int, int], tuple[float, float, float]], prior: float = PRIOR) -> Fit:
    """Fit the model.

    Args:
        count: number of candidates.
        outcomes: (i, j) -> how often i was preferred, j was, and neither was.
        prior: standard deviation of the prior.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    pairs = np.array(list(outcomes), dtype=int).reshape(-1, 2)
    seen = np.array(list(outcomes.values()), dtype=float).reshape(-1, 3)
    with_ties = bool(seen[:, 2].any())
    features = _features(count, pairs, with_ties)  # [pairs, outcomes, parameters]
    seen = seen[:, : features.shape[1]]
    times = seen.sum(axis=1)
    observed = np.einsum("po,pof->f", seen, features)

    def loss(parameters: Array) -> float:
        chances = log_softmax(features @ parameters, axis=1)
        return float(-(seen * chances).sum() + (parameters**2).sum() / (2 * prior**2))

    def slope(parameters: Array) -> Array:
        expected = np.einsum("p,po,pof->f", times, softmax(features @ parameters, axis=1), features)
        return expected - observed + parameters / prior**2

    def curve(parameters: Array) -> Array:
        share = softmax(features @ parameters, axis=1)
        means = np.einsum("po,pof->pf", share, features)
        squares = np.einsum("p,po,pof,pog->fg", times, share, features, features, optimize=True)
        spread = squares - np.einsum("p,pf,pg->fg", times, means, means)
        return spread + np.eye(len(parameters)) / prior**2

    start = np.zeros(features.shape[2])
    found = minimize(loss, start, jac=slope, hess=curve, method="trust-exact", options={"gtol": 1e-8}).x
    covariance = np.linalg.inv(curve(found))[:count, :count]
    centre = np.eye(count) - 1 / count
    return Fit(centre @ found[:count], centre @ covariance @ centre, float(found[-1]) if with_ties else None)


def _features(count: int, pairs: Array, with_ties: bool) -> Array:
    """The weight of each parameter in the log odds of each outcome of each pair."""
    import numpy as np

    features = np.zeros((len(pairs), 3 if with_ties else 2, count + with_ties))
    every = np.arange(len(pairs))
    for side in (0, 1):
        features[every, side, pairs[:, side]] = 1
        if with_ties:
            features[every, 2, pairs[:, side]] = 0.5
    if with_ties:
        features[:, 2, -1] = 1
    return features
