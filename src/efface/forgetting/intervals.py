"""Where else a score could have come out: new models and new examples, without drawing any model twice.

A model drawn twice makes a tie that both thresholds and bins mistake for evidence, so models are not drawn with
replacement. Half of the models of each side are taken instead (the delete-half jackknife; Shao and Wu 1989, Annals of
Statistics 17): the spread of scores on random halves around their mean is that of the score on all of them, to first
order. In each round the examples are drawn with replacement. Both sources of chance are so in one spread, a little
more than once (the pigeonhole bootstrap's known excess; Owen 2007, Annals of Applied Statistics 1).

The interval is score +- t * spread with Student's t for the number of rounds, cut at the least score. It is about
chance only: the level of the official score itself carries a bias (its noise floor), which its ceiling shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from efface.errors import InputError
from efface.forgetting.arrays import Floats
from efface.metrics.intervals import student_reach
from efface.randomness import numpy_draws

CONFIDENCE = 0.95
FEWEST_MODELS = 8
Points = Callable[[Floats, Floats], Floats]


def bootstrap_interval(
    points: Points,
    unlearned: Floats,
    retrained: Floats,
    *,
    rounds: int = 20,
    seed: int = 0,
    least: float = 0.0,
) -> tuple[float, float]:
    """Interval at 95 % of the mean of `points(unlearned, retrained)` `[examples]` over models and examples.

    `unlearned` and `retrained` `[models, examples]`, at least 8 models each, so that halves can be scored. `least`: what
    no mean can be below.
    """
    if min(len(unlearned), len(retrained)) < FEWEST_MODELS or rounds < 10:
        raise InputError(
            f"an interval over models needs 8 models a side and 10 rounds, got {len(unlearned)} and {len(retrained)} "
            f"models, {rounds} rounds"
        )
    draws = numpy_draws(seed, "forgetting-bootstrap")
    examples = unlearned.shape[1]
    means = []
    for _ in range(rounds):
        u, r = (side[draws.permutation(len(side))[: len(side) // 2]] for side in (unlearned, retrained))
        means.append(points(u, r)[draws.integers(0, examples, examples)].mean())
    score = float(points(unlearned, retrained).mean())
    return around(score, float(np.std(means, ddof=1)), rounds - 1, least)


def around(value: float, spread: float, freedom: int, least: float = 0.0) -> tuple[float, float]:
    """`value` +- t `spread`, the lower end not below `least`."""
    reach = student_reach(spread, freedom, CONFIDENCE)
    return max(value - reach, least), value + reach
