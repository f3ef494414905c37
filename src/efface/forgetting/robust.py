"""The forgetting score without its noise floor: thresholds chosen on half of the models, scored on the other half.

The question is that of the competition (arXiv:2406.09073); thresholds, bounds and points are ours.

For each example, on each half in turn: of all attacks (`search`), the one with the largest lower confidence
bound of epsilon is kept and tried on the other half. The bound's confidence is 1 - 0.05 / n for halves of n models,
because the luckiest of many intervals is sought: at a lower one, tails of a few models win and the score of retrained
against retrained would stay noisy at any N. The held-out epsilon is signed: negative where the region holds more of the
other side than of the expected one, as a lucky choice does half of the time. Points are those of the official bins
made continuous,

    points(e) = 2^(-2 e) for e >= 0,        points(e) = 2 - points(-e) for e < 0,

and the score is their mean over halves and examples. The extension below 0 is what removes the floor: where both
sides have one law, swapping them turns every held-out e into -e, so the expected score is 1 at any number of models,
for any law, ties included. A single score may so lie a little above 1; that is noise, and the interval shows it.

The interval (`RobustScore.interval`) is for the expected score of these two kinds of models at this number of them, over
new training seeds and examples like these. It holds 1 unless the models are told apart (`apart`): where the two kinds
have one law, in 95 of 100 cases, however examples depend on each other. Its ends reach as far as the wider of two
spreads: that of scores with the labels "unlearned" and "retrained" dealt anew among all models, selection included,
with Student's t for the number of deals; and the bootstrap's (`intervals`, from 8 models on), because kinds that differ
spread more. Coverage is measured in docs/forgetting/score.md.

Epsilon of single examples is noisy: its 90 % quantile over examples, and the share of examples whose lower bound is above
0 (each at 95 %, nothing is corrected for their number), stand beside what the dealt labels give on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from efface.errors import InputError
from efface.forgetting.apart import ToldApart, told_apart
from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.declared import CONFIDENCES, statistic
from efface.forgetting.intervals import FEWEST_MODELS as FEWEST_FOR_BOOTSTRAP
from efface.forgetting.intervals import bootstrap_interval
from efface.forgetting.official import DELTA
from efface.forgetting.search import Criterion, HeldOut, Order, cross_fit, exact_bounds, log_ratio
from efface.metrics.intervals import student_reach
from efface.randomness import numpy_draws
from efface.settings import Settings

FEWEST_MODELS = 4
CONFIDENCE = 0.95
DEALS = 20


class Tail(Settings):
    """The examples on which models are most unlike, which a mean over examples hides."""

    epsilon_90: float = Field(description="90 % quantile of epsilon over examples")
    shown: float = Field(description="share of examples whose epsilon is above 0 at its lower bound")

    @classmethod
    def of(cls, epsilon: Floats, epsilon_low: Floats) -> Tail:
        """Of `[examples]` each."""
        return cls(epsilon_90=float(np.quantile(epsilon, 0.9)), shown=float(np.mean(epsilon_low > 0)))


@dataclass(frozen=True)
class RobustScore:
    """`score`: 1 indistinguishable, near 0 told apart in every model; above 1 by noise only.

    `interval`: (low, high) at 95 % (see the module), or None where no deals were asked for; `bootstrap`: that of
    `intervals` alone, None below 8 models too. `apart`: the test, and how far apart at any number of models; None
    without deals. `tail`: the worst examples; `tail_by_chance`: the same with dealt labels, or None. `epsilon`
    `[examples]`, at least 0: the mean of both held-out attacks. `signed_epsilon`: the same before it is cut
    at 0. `epsilon_low`: lower confidence bound of each example's epsilon at 95 %, from exact bounds on the held-out
    error rates; there is no upper one, because a stronger attack may exist. `points` `[examples]`.
    """

    score: float
    interval: tuple[float, float] | None
    bootstrap: tuple[float, float] | None
    apart: ToldApart | None
    tail: Tail
    tail_by_chance: Tail | None
    epsilon: Floats
    signed_epsilon: Floats
    epsilon_low: Floats
    points: Floats
    models: int


@statistic(
    "Forgetting score, robust",
    direction="up",
    range="0 to 1, above 1 by noise only; retrained against retrained gives 1 on average",
    reads=CONFIDENCES,
    source="arXiv:2406.09073, with cross-fitted thresholds",
    summary="The same question with thresholds chosen on half of the models and scored on the other.",
)
def robust_score(
    unlearned: ArrayLike, retrained: ArrayLike, *, seed: int = 0, deals: int = DEALS
) -> RobustScore:
    """The robust score of two arrays `[models, examples]` of any statistic, with equally many models.

    `seed` draws the halves and the deals; `deals` (0 or at least 10) is how often the labels are dealt anew for the
    interval and what chance gives; 0 leaves those and the test out. Raises `InputError`: NaN, infinities, unequal or
    empty arrays, fewer than 4 models.
    """
    u, r = models_by_examples(
        {"unlearned": unlearned, "retrained": retrained}, FEWEST_MODELS, equal_models=True
    )
    if deals != 0 and deals < 10:
        raise InputError(f"deals: 0 for no interval, or at least 10, got {deals}")
    models = len(u)
    order, fitting = Order.of(u, r), _Fitting.of(models)
    given = _Scored.of(fitting.held_out(order, numpy_draws(seed, "forgetting-halves"), dealt=False))
    score = float(given.points.mean())
    interval = bootstrap = apart = by_chance = None
    if deals:
        draws = numpy_draws(seed, "forgetting-deals")
        dealt = [_Scored.of(fitting.held_out(order, draws, dealt=True)) for _ in range(deals)]
        spread = float(np.sqrt(np.mean([(one.points.mean() - 1) ** 2 for one in dealt])))
        by_chance = Tail(
            epsilon_90=fmean(one.tail.epsilon_90 for one in dealt),
            shown=fmean(one.tail.shown for one in dealt),
        )
        apart = told_apart(u, r, seed=seed)
        if models >= FEWEST_FOR_BOOTSTRAP:
            again = partial(robust_score, seed=seed, deals=0)
            bootstrap = bootstrap_interval(lambda a, b: again(a, b).points, u, r, rounds=deals, seed=seed)
        interval = _interval(
            score, student_reach(spread, deals, CONFIDENCE), bootstrap or (1.0, 0.0), apart.told_apart
        )
    return RobustScore(
        score=score,
        interval=interval,
        bootstrap=bootstrap,
        apart=apart,
        tail=given.tail,
        tail_by_chance=by_chance,
        epsilon=given.epsilon,
        signed_epsilon=given.signed,
        epsilon_low=given.epsilon_low,
        points=given.points,
        models=models,
    )


def _interval(
    score: float, reach: float, bootstrap: tuple[float, float], told_apart: bool
) -> tuple[float, float]:
    """The wider ends of both; 1, which no expected score is above, is in it unless the models are told apart."""
    low, high = min(max(score - reach, 0.0), bootstrap[0], 1.0), max(score + reach, bootstrap[1])
    return low, min(high, float(np.nextafter(1.0, 0.0))) if told_apart else max(high, 1.0)


@dataclass(frozen=True)
class _Scored:
    """What held-out attacks give each example `[examples]`."""

    signed: Floats
    epsilon_low: Floats
    points: Floats

    @classmethod
    def of(cls, held: HeldOut) -> _Scored:
        signed = _signed_epsilon(held)
        return cls(signed.mean(axis=1), _lower_bound(held), _points(signed).mean(axis=1))

    @property
    def epsilon(self) -> Floats:
        """The mean of both attacks, at least 0."""
        return np.maximum(self.signed, 0)

    @property
    def tail(self) -> Tail:
        return Tail.of(self.epsilon, self.epsilon_low)


@dataclass(frozen=True)
class _Fitting:
    """What does not change between deals: how many models, and the criterion for each half."""

    models: int
    criteria: tuple[Criterion, Criterion]

    @classmethod
    def of(cls, models: int) -> _Fitting:
        sizes = (models // 2, models - models // 2)
        first, second = (Criterion.of(n, 1 - (1 - CONFIDENCE) / n, DELTA) for n in sizes)
        return cls(models, (first, second))

    def held_out(self, order: Order, draws: np.random.Generator, dealt: bool) -> HeldOut:
        """Random halves of either side; `dealt`: the sides are drawn anew from all models first."""
        models = self.models
        side: NDArray[np.int8] = np.repeat(np.array([0, 1], dtype=np.int8), models)
        if dealt:
            side = draws.permutation(side)
        half = np.ones(2 * models, dtype=np.int8)
        for label in (0, 1):
            half[draws.permutation(np.flatnonzero(side == label))[: models // 2]] = 0
        return cross_fit(order, side, half, self.criteria)


def _signed_epsilon(held: HeldOut) -> Floats:
    """`[examples, 2]`. Half a model is added inside and outside, so that a rate is never 0 or 1 (Jeffreys)."""
    hits, misses = (held.hits + 0.5) / (held.sizes + 1), (held.misses + 0.5) / (held.sizes + 1)
    more = log_ratio(np.maximum(hits, misses), np.minimum(hits, misses), DELTA)
    signed: Floats = np.sign(hits - misses) * np.maximum(more, 0)
    return signed


def _points(signed: Floats) -> Floats:
    size = np.exp2(-2 * np.abs(signed))
    points: Floats = np.where(signed >= 0, size, 2 - size)
    return points


def _lower_bound(held: HeldOut) -> Floats:
    """`[examples]`: two attacks with two rates each share the 5 % of error."""
    level = 1 - (1 - CONFIDENCE) / 4
    bounds = np.zeros(held.hits.shape)
    for half, n in enumerate(held.sizes):
        low, high = exact_bounds(np.arange(n + 1), int(n), level)
        bounds[:, half] = log_ratio(low[held.hits[:, half]], high[held.misses[:, half]], DELTA)
    low_ends: Floats = np.maximum(bounds.max(axis=1), 0)
    return low_ends
