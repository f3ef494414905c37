"""Whether unlearned models are told apart from retrained ones, and how far: an answer and an effect, whatever their number.

Both read ranks alone. The models of both sides are ranked on each example (ties broken by a draw that knows no side).

**The test.** Models lie at the distance that their ranks differ by, summed over examples; the statistic is the sum of
distances between sides, as in the energy test (Szekely and Rizzo 2013). p is the share of labels dealt anew among
all models that give as large a sum, the given ones counted as one deal (Phipson and Smyth 2010). Where both kinds have
one law, p <= 0.05 in at most 5 of 100 cases, however examples depend on each other.

**The effect.** On each example, the Cramer-von Mises distance of the two laws on the scale of their mixture,

    D = integral of (F_u - F_r)^2 dH,    H = (F_u + F_r) / 2,    0 to 1/3,

estimated without bias: each product of distribution functions at a model is counted over pairs of other models. So
the mean of D over examples is expected to be the same at any number of models, and 0 where the laws are equal (single
estimates are then often negative). It is told as the *equivalent shift*: how many standard deviations apart two normal
laws with this D are, negative for a negative D. The interval is that of the mean D over new training seeds and examples
like these (`intervals`), both ends told as shifts; it holds 0 if and only if p > 0.05.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.declared import CONFIDENCES, statistic
from efface.forgetting.intervals import FEWEST_MODELS as FEWEST_FOR_INTERVAL
from efface.forgetting.intervals import bootstrap_interval
from efface.randomness import numpy_draws
from efface.settings import Settings
from efface.wording import bound, interval

FEWEST_MODELS = 4
LEVEL = 0.05
DEALS = 999
ROUNDS = 20
LARGEST_SHIFT = 4.0
"""Beyond it the distance of two normal laws hardly grows: a shift so large stands for all larger ones."""
AT_CAP = f">= {LARGEST_SHIFT:g}"


class ToldApart(Settings):
    """Whether two kinds of models are told apart, and how far they are."""

    told_apart: bool = Field(description="whether p is at most 0.05")
    p: float = Field(description="share of deals of the labels that part the models as far")
    smallest_p: float = Field(description="the smallest p that so many deals can give")
    deals: int = Field(description="how often the labels were dealt anew")
    distance: float = Field(
        description="mean over examples of the unbiased distance D that the shift is told from"
    )
    shift: float = Field(
        description="equivalent shift: how many standard deviations apart normal laws as different are, mean over "
        "examples; below 0 by noise only; 4 is the cap"
    )
    at_cap: bool = Field(
        description="whether the shift is at its cap: 4 then stands for all that is larger, and so does an end of 4"
    )
    low: float | None = Field(description="lower end of its 95 % interval; null below 8 models a side")
    high: float | None = Field(description="upper end")
    auc: float = Field(
        description="chance that one model of each kind is told from the other by one example, under such a shift"
    )

    @property
    def shift_words(self) -> str:
        """The shift in words; a cap is no measurement, and is said as the bound that it is."""
        return AT_CAP if self.at_cap else bound(self.shift, 2, ())

    @property
    def interval_words(self) -> str:
        """The interval of the shift likewise; empty where there is none."""
        if self.low is None or self.high is None or self.high < LARGEST_SHIFT:
            return interval(self.low, self.high, places=2) or ""
        return AT_CAP if self.low >= LARGEST_SHIFT else f"{bound(self.low, 2)} to {AT_CAP}"

    @property
    def auc_words(self) -> str:
        """The chance that goes with the shift."""
        return f">= {np.floor(100 * self.auc) / 100:.2f}" if self.at_cap else f"{self.auc:.2f}"


@statistic(
    "Told apart, and equivalent shift",
    direction="down",
    range="p from 0 to 1; a shift from 0, below by noise only, to 4 standard deviations",
    reads=CONFIDENCES,
    source="Szekely and Rizzo (2013); Phipson and Smyth (2010)",
    summary="Whether unlearned models are told from retrained ones, and how far apart they are, at any number of models.",
)
def told_apart(
    unlearned: ArrayLike, retrained: ArrayLike, *, seed: int = 0, deals: int = DEALS, rounds: int = ROUNDS
) -> ToldApart:
    """The test and the effect of two arrays `[models, examples]` of any statistic, at least 4 models a side.

    `deals`: how often labels are dealt anew. `rounds`: draws behind the interval of the effect; 0 leaves it out. Raises
    `InputError`. Sources: Szekely and Rizzo (2013), Journal of Statistical Planning and Inference 143; Phipson and
    Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9.
    """
    u, r = models_by_examples({"unlearned": unlearned, "retrained": retrained}, FEWEST_MODELS)
    draws = numpy_draws(seed, "told-apart")
    rank = _ranks(u, r, draws)
    p = _p_value(rank, len(u), deals, draws)
    mean = float(_distances(rank[: len(u)], rank[len(u) :]).mean())
    low: float | None = None
    high: float | None = None
    if rounds and min(len(u), len(r)) >= FEWEST_FOR_INTERVAL:
        ends = bootstrap_interval(
            _distances, rank[: len(u)], rank[len(u) :], rounds=rounds, seed=seed, least=-1.0
        )
        low, high = map(shift_of, ends)
        low = max(low, float(np.nextafter(0, 1))) if p <= LEVEL else min(low, 0.0)
        high = max(high, low)
    shift = shift_of(mean)
    return ToldApart(
        told_apart=p <= LEVEL,
        p=p,
        smallest_p=1 / (deals + 1),
        deals=deals,
        distance=mean,
        shift=shift,
        at_cap=shift >= LARGEST_SHIFT,
        low=low,
        high=high,
        auc=float(ndtr(shift / np.sqrt(2))),
    )


def shift_of(distance: float) -> float:
    """The equivalent shift of a distance D; of a negative one, as far below 0."""
    shifts, roots = _shifts()
    return float(np.copysign(np.interp(np.sqrt(abs(distance)), roots, shifts), distance))


@cache
def _shifts() -> tuple[Floats, Floats]:
    """Shifts from 0 to the largest, and the roots of their distances: E (Phi(Z) - Phi(Z - shift))^2 of normal Z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    shifts = np.linspace(0, LARGEST_SHIFT, 401)
    gaps = ndtr(nodes) - ndtr(nodes - shifts[:, None])
    return shifts, np.sqrt(gaps**2 @ (weights / np.sqrt(2 * np.pi)))


def _ranks(u: Floats, r: Floats, draws: np.random.Generator) -> Floats:
    """The place of each model among those of both sides `[models of both, examples]`, from 0; ties in a drawn order."""
    pooled = np.concatenate([u, r])
    order = np.lexsort((draws.random(pooled.shape), pooled), axis=0)
    rank = np.empty(pooled.shape)
    np.put_along_axis(rank, order, np.arange(len(pooled), dtype=np.float64)[:, None], axis=0)
    return rank


def _p_value(rank: Floats, unlearned: int, deals: int, draws: np.random.Generator) -> float:
    apart = cdist(rank, rank, "cityblock")
    given = np.arange(len(rank)) < unlearned
    dealt = np.tile(given, (deals + 1, 1)).astype(np.float64)
    dealt[1:] = draws.permuted(dealt[1:], axis=1)
    between = ((dealt @ apart) * (1 - dealt)).sum(axis=1)
    # whole numbers, so that equal deals are equal
    return float(np.count_nonzero(between >= between[0])) / (deals + 1)


def _distances(u: Floats, r: Floats) -> Floats:
    """D of each example `[examples]` of `[models, examples]` without ties between or within sides, without bias."""
    n, m = len(u), len(r)
    is_u = np.take_along_axis(
        np.repeat([True, False], [n, m])[:, None], np.argsort(np.concatenate([u, r]), axis=0), axis=0
    )
    below_u, below_r = (np.cumsum(side, axis=0) - side for side in (is_u, ~is_u))
    total: Floats = np.zeros(u.shape[1])
    for here, a, b in ((is_u, 1, 0), (~is_u, 0, 1)):
        # a model is not counted at itself
        of_u, of_r = n - a, m - b
        product = below_u * (below_u - 1) / (of_u * (of_u - 1)) + below_r * (below_r - 1) / (
            of_r * (of_r - 1)
        )
        product -= 2 * below_u * below_r / (of_u * of_r)
        total += (product * here).sum(axis=0) / (2 * (n if a else m))
    return total
