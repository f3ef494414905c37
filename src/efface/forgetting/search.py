"""The best attack on one example, over all thresholds, and what it does to models that did not choose it.

An attack is an interval of the statistic, open to either side if it reaches the end: inside it, one guesses one
side, outside of it the other. Both guesses are allowed, so single thresholds in both directions and intervals around
either side are all in the family. Only the order of values is used: any increasing change of scale changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from efface.forgetting.arrays import Floats

Counts = NDArray[np.int64]
UNLEARNED, RETRAINED = 0, 1


@dataclass(frozen=True)
class Order:
    """All models of both sides in the order of the statistic, by example.

    `models` `[examples, 2N]`: which model stands at each place (unlearned ones are 0 to N-1). `first` and `last`
    `[examples, 2N]`: the places at which values equal to this one begin and end (`last` exclusive).
    """

    models: Counts
    first: Counts
    last: Counts

    @classmethod
    def of(cls, unlearned: Floats, retrained: Floats) -> Order:
        """The order of `[models, examples]` arrays; ties keep the order of models and are known as ties."""
        pooled = np.concatenate([unlearned, retrained]).T
        models = np.argsort(pooled, axis=1, kind="stable")
        values = np.take_along_axis(pooled, models, axis=1)
        place = np.arange(values.shape[1])
        new = np.ones(values.shape, dtype=np.bool_)
        new[:, 1:] = values[:, 1:] > values[:, :-1]
        first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        ends = np.ones(values.shape, dtype=np.bool_)
        ends[:, :-1] = new[:, 1:]
        backwards = np.where(ends, place + 1, len(place))[:, ::-1]
        return cls(models, first, np.minimum.accumulate(backwards, axis=1)[:, ::-1])


@dataclass(frozen=True)
class Criterion:
    """How strong an attack is that holds `a` of n models of its own side inside and `b` of the other, `[a, b]`.

    The strength is a lower confidence bound of epsilon (Clopper and Pearson 1934, each rate at `confidence`), not cut
    at 0: it rises with `a`, falls with `b`, and does not mistake a tail of two models for evidence. An interval
    offers two bounds, one from the models inside and one from those outside; `outside` says where the latter is larger.
    """

    n: int
    strength: Floats
    outside: NDArray[np.bool_]

    @classmethod
    def of(cls, n: int, confidence: float, delta: float) -> Criterion:
        low, high = exact_bounds(np.arange(n + 1), n, confidence)
        inside = log_ratio(low[:, None], high[None, :], delta)
        # Outside, the other side's models are the hits: n - b of them, against n - a misses.
        outside = np.ascontiguousarray(inside[::-1, ::-1].T)
        return cls(n, np.maximum(inside, outside), outside > inside)


def exact_bounds(count: Counts, n: int, confidence: float) -> tuple[Floats, Floats]:
    """One-sided lower and upper bounds of a rate after `count` of `n`, each at `confidence` (Clopper-Pearson)."""
    low = np.where(count > 0, stats.beta.ppf(1 - confidence, np.maximum(count, 1), n - count + 1), 0.0)
    high = np.where(count < n, stats.beta.ppf(confidence, count + 1, np.maximum(n - count, 1)), 1.0)
    return low, high


def log_ratio(hits: Floats, misses: Floats, delta: float) -> Floats:
    """Epsilon that a region shows with this rate of `hits` on one side and of `misses` on the other: `[...]`.

    log((hits - delta) / misses), the inequality that defines (epsilon, delta)-unlearning read at one region
    (arXiv:2406.09073, definition 3.1; Kairouz et al. 2015, arXiv:1311.0776). Negative where it holds more misses.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.log(np.maximum(hits - delta, 0)) - np.log(misses)
    return result


@dataclass(frozen=True)
class HeldOut:
    """What the chosen attacks did: `hits` and `misses` `[examples, 2]`, of `sizes` `[2]` held-out models a side.

    Column 0: chosen on the second half, tried on the first; column 1 the other way round. A hit is a
    model in the attack's region (inside or outside of its interval) of the side expected there, a miss one of the other.
    """

    hits: Counts
    misses: Counts
    sizes: Counts


def cross_fit(
    order: Order, side: NDArray[np.int8], half: NDArray[np.int8], criteria: tuple[Criterion, Criterion]
) -> HeldOut:
    """Choose on each half the best attack for every example, and count on the other half.

    `side` and `half` `[2N]` say of each model whether it is unlearned (0) or retrained (1) and in which half it is;
    `criteria[h]` is for the size of half h.
    """
    examples = len(order.models)
    hits, misses = np.empty((2, examples, 2), dtype=np.int64)
    sides, halves = side[order.models], half[order.models]
    for example in range(examples):
        for held in (0, 1):
            train = halves[example] != held
            begin, end, guess, outside = _best(sides[example], train, order, example, criteria[1 - held])
            inside = sides[example, begin:end][~train[begin:end]]
            retrained = int(np.count_nonzero(inside))
            both = (len(inside) - retrained, retrained)
            size = criteria[held].n
            hits[example, held] = size - both[1 - guess] if outside else both[guess]
            misses[example, held] = size - both[guess] if outside else both[1 - guess]
    return HeldOut(hits, misses, np.array([criteria[0].n, criteria[1].n]))


def _best(
    sides: NDArray[np.int8], train: NDArray[np.bool_], order: Order, example: int, criterion: Criterion
) -> tuple[int, int, int, bool]:
    """First place, end place, side expected inside, and whether the region is outside, of the strongest attack."""
    places = np.flatnonzero(train)
    chosen = sides[places]
    first, last = order.first[example, places], order.last[example, places]
    starts = np.flatnonzero(np.concatenate([[True], first[1:] != first[:-1]]))
    ends = np.append(starts[1:], len(places))
    retrained = np.zeros(len(places) + 1, dtype=np.int64)
    np.cumsum(chosen, out=retrained[1:])
    in_group = retrained[ends] - retrained[starts]
    has = (in_group < ends - starts, in_group > 0)
    counts = (np.arange(len(places) + 1) - retrained, retrained)
    best = (-np.inf, 0, len(places), UNLEARNED, False)
    for guess in (UNLEARNED, RETRAINED):
        # The best interval begins where its own side begins after the other, and ends so too: nothing else
        # is a gain, because hits only help and misses only harm.
        mine, other = has[guess], has[1 - guess]
        begins = starts[mine & np.append(True, other[:-1])]
        stops = ends[mine & np.append(other[1:], True)]
        code = counts[guess] * (criterion.n + 1) + counts[1 - guess]
        cell = code[stops][None, :] - code[begins][:, None]
        strength = criterion.strength.ravel().take(cell, mode="clip")
        row, column = divmod(int(strength.argmax()), len(stops))
        if strength[row, column] > best[0]:
            region = bool(criterion.outside.ravel()[cell[row, column]])
            best = (strength[row, column], begins[row], stops[column], guess, region)
    _, begin, stop, guess, outside = best
    whole = (
        0 if begin == 0 else int(first[begin]),
        len(sides) if stop == len(places) else int(last[stop - 1]),
    )
    return *whole, guess, outside
