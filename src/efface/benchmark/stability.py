"""Whether the order of methods is the same under another setup: Kendall's tau, with an interval over methods.

The competition's paper (arXiv:2406.09073) claims that its ranking is stable between setups, which would make the
cheap ones enough; here that is measured. tau-b counts pairs of methods: 1 where all pairs stand in one order, -1 where
all are turned round, and pairs that are equal on a side count on neither. Source: Kendall (1945), Biometrika 33.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from efface.benchmark.results import Agreement
from efface.errors import InputError
from efface.forgetting.arrays import Floats
from efface.randomness import numpy_draws

RESAMPLES = 2000
FEWEST_METHODS = 3


def kendall_tau(one: ArrayLike, other: ArrayLike) -> Floats:
    """tau-b `[...]` of two arrays `[..., methods]`; NaN where a side makes all equal. Raises `InputError`."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape or a.ndim == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"tau compares two lists of as many finite scores, got {a.shape} and {b.shape}")
    first, second = (np.sign(side[..., :, None] - side[..., None, :]) for side in (a, b))
    norm = np.sqrt((first**2).sum((-2, -1)) * (second**2).sum((-2, -1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Floats = np.where(norm > 0, (first * second).sum((-2, -1)) / norm, np.nan)
    return tau


def agreement(
    names: tuple[str, str],
    one: Mapping[str, float],
    other: Mapping[str, float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """How far two scores, by method, put the methods that both have in one order."""
    common = [method for method in one if method in other]
    a, b = (np.array([side[method] for method in common]) for side in (one, other))
    tau = float(kendall_tau(a, b)) if len(common) >= FEWEST_METHODS else float("nan")
    if not np.isfinite(tau):
        return Agreement(one=names[0], other=names[1], methods=len(common), tau=None, low=None, high=None)
    draws = numpy_draws(seed, "rank-stability", *names)
    chosen = draws.integers(len(common), size=(RESAMPLES, len(common)))
    taus = kendall_tau(a[chosen], b[chosen])
    # a draw of a single method many times has no order at all
    low, high = np.quantile(taus[np.isfinite(taus)], [(1 - confidence) / 2, (1 + confidence) / 2])
    ends = {"low": float(low), "high": float(high)}
    return Agreement(one=names[0], other=names[1], methods=len(common), tau=tau, **ends)


def stability(
    scores: Mapping[str, Mapping[str, Sequence[float]]], *, confidence: float = 0.95, seed: int = 0
) -> list[Agreement]:
    """Agreements of all pairs of setups, by their mean scores, and of all pairs of experiments of one setup.

    scores: by setup and method, the score of each experiment. A method counts in a pair if it has all of its
    scores in both.
    """
    found = []
    counts = {setup: max(map(len, table.values()), default=0) for setup, table in scores.items()}
    means = {
        setup: {
            method: float(np.mean(values))
            for method, values in table.items()
            if len(values) == counts[setup] > 0
        }
        for setup, table in scores.items()
    }
    for names in combinations(scores, 2):
        found.append(agreement(names, means[names[0]], means[names[1]], confidence=confidence, seed=seed))
    for setup, table in scores.items():
        most = counts[setup]
        columns = [
            {method: float(values[place]) for method, values in table.items() if len(values) == most}
            for place in range(most)
        ]
        for a, b in combinations(range(most), 2):
            pair = (f"{setup}, experiment {a + 1}", f"{setup}, experiment {b + 1}")
            found.append(agreement(pair, columns[a], columns[b], confidence=confidence, seed=seed))
    return found
