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
new training seeds and examples like these. Whether it holds 1 is decided by scores with the labels "unlearned" and
"retrained" dealt anew among all models, selection included, and Student's t for the number of deals: where the two
kinds have one law it holds 1 in 95 of 100 cases, however examples depend on each other. Its ends reach as far
as the wider of that spread and the bootstrap's (`intervals`, from 8 models on), because kinds that differ spread more;
but the bootstrap never brings back a 1 that was excluded. Coverage is measured in docs/forgetting/score.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.errors import InputError
from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.declared import CONFIDENCES, statistic
from efface.forgetting.intervals import FEWEST_MODELS as FEWEST_FOR_BOOTSTRAP
from efface.forgetting.intervals import bootstrap_interval
from efface.forgetting.official import DELTA
from efface.forgetting.search import Criterion, HeldOut, Order, cross_fit, exact_bounds, log_ratio
from efface.metrics.intervals import student_reach
from efface.randomness import numpy_draws

FEWEST_MODELS = 4
CONFIDENCE = 0.95
DEALS = 20


@dataclass(frozen=True)
class RobustScore:
    """`score`: 1 indistinguishable, near 0 told apart in every model; above 1 by noise only.

    `interval`: (low, high) at 95 % (see the module), or None where no deals were asked for; `bootstrap`: that of
    `intervals` alone, None below 8 models too. `epsilon`
    `[examples]`, at least 0: the mean of both held-out attacks. `signed_epsilon`: the same before it is cut
    at 0. `epsilon_low`: lower confidence bound of each example's epsilon at 95 %, from exact bounds on the held-out
    error rates; there is no upper one, because a stronger attack may exist. `points` `[examples]`.
    """

    score: float
    interval: tuple[float, float] | None
    bootstrap: tuple[float, float] | None
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
    interval. Raises `InputError`: NaN, infinities, unequal or empty arrays, fewer than 4 models.
    """
    u, r = models_by_examples(
        {"unlearned": unlearned, "retrained": retrained}, FEWEST_MODELS, equal_models=True
    )
    if deals != 0 and deals < 10:
        raise InputError(f"deals: 0 for no interval, or at least 10, got {deals}")
    models = len(u)
    order, fitting = Order.of(u, r), _Fitting.of(models)
    held = fitting.held_out(order, numpy_draws(seed, "forgetting-halves"), dealt=False)
    signed = _signed_epsilon(held)
    points = _points(signed).mean(axis=1)
    score = float(points.mean())
    interval = bootstrap = None
    if deals:
        draws = numpy_draws(seed, "forgetting-deals")
        nulls = [
            _points(_signed_epsilon(fitting.held_out(order, draws, dealt=True))).mean() for _ in range(deals)
        ]
        spread = float(np.sqrt(np.mean(np.square(np.subtract(nulls, 1)))))
        reach = student_reach(spread, deals, CONFIDENCE)
        if models >= FEWEST_FOR_BOOTSTRAP:
            again = partial(robust_score, seed=seed, deals=0)
            bootstrap = bootstrap_interval(lambda a, b: again(a, b).points, u, r, rounds=deals, seed=seed)
        interval = _joined((max(score - reach, 0.0), score + reach), bootstrap)
    mean = signed.mean(axis=1)
    return RobustScore(
        score, interval, bootstrap, np.maximum(mean, 0), mean, _lower_bound(held), points, models
    )


def _joined(dealt: tuple[float, float], bootstrap: tuple[float, float] | None) -> tuple[float, float]:
    """The wider ends of both; 1 is in it if and only if it is in `dealt`."""
    low, high = dealt
    if bootstrap:
        low, high = min(low, bootstrap[0]), max(high, bootstrap[1])
    if dealt[1] < 1:
        high = min(high, float(np.nextafter(1.0, 0.0)))
    if dealt[0] > 1:
        low = max(low, float(np.nextafter(1.0, 2.0)))
    return low, high


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
        low, _ = exact_bounds(held.hits[:, half], int(n), level)
        _, high = exact_bounds(held.misses[:, half], int(n), level)
        bounds[:, half] = log_ratio(low, high, DELTA)
    low_ends: Floats = np.maximum(bounds.max(axis=1), 0)
    return low_ends
