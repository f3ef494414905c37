"""The score of the NeurIPS-2023 unlearning competition, number for number, without its masks.

Source: Triantafillou et al. (2024), arXiv:2406.09073; the published `metric.py` (google-deepmind/
unlearning_evaluation), consulted for thresholds, decision rules, edge rules, bins and precision; written afresh.

The published code tries each of 160,000 intervals on every model. Here both samples are sorted once. An attack is
then known by how many pooled values lie before its ends, and its epsilon is an entry of a table of counts. Candidate
attacks are looked at from the strongest down, and the first one that the published grid of thresholds holds decides.

float32 arrays on both sides are thresholded in float32, as the published code does, other ones in float64: values that
lie close together are told apart by the one and not by the other.

Where the published code stops, because no threshold leaves both error rates above 0 or both at 0, `official_score`
raises and names the examples. `where_it_stops="define"`, for scores of whole tables, goes on and marks them `unresolved`:
- all values of both sides equal: epsilon 0, nothing tells the sides apart;
- the sides differ, both ranges far below the grid's step of 0.01: epsilon is the cap, so 0 points: what could not be
  measured earns nothing.

Examples whose values all lie within one step of the grid have their epsilon as published, which may well be 0 for sides
that differ, and are marked `unresolved` too. Refused in one `InputError` that names all faults: values beyond
10,000 on either side of 0 (the grid's step is absolute, and these are no such confidences), NaN, infinities, different
numbers of models, no examples, fewer than 3 models (the rule has no bins there, so F would be 0 whatever the models do).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.errors import Faults, InputError
from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.declared import CONFIDENCES, statistic
from efface.wording import counted, several

DELTA = 1e-5
CAP = 50.0
PER_UNIT = 100
BUFFER = 2.0
BIN_WIDTH = 0.5
NARROW = 0.01
FEWEST_MODELS = 3
LARGEST = 1e4
LEFT_ENDS = int(np.ceil(2 * BUFFER * PER_UNIT))

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
DISCARDED = np.float32(-1.0)


@dataclass(frozen=True)
class OfficialScore:
    """`score` F, 0 to 1, higher is better; `epsilon` `[examples]`, 0 to 50; `points` `[examples]`; `models` N.

    `unresolved` `[examples]`: true where the published code stops or its grid is too coarse to say anything.
    """

    score: float
    epsilon: Floats
    points: Floats
    unresolved: NDArray[np.bool_]
    models: int


@statistic(
    "Forgetting score F, official",
    direction="up",
    range="0 to 1; retrained against retrained gives about 0.19",
    reads=CONFIDENCES,
    source="arXiv:2406.09073",
    summary="The competition's score: how hard it is to tell unlearned from retrained models, example by example.",
)
def official_score(
    unlearned: ArrayLike, retrained: ArrayLike, *, where_it_stops: Literal["raise", "define"] = "raise"
) -> OfficialScore:
    """F of two arrays of logit-scaled confidences `[models, examples]` with equally many models.

    Retrained against retrained gives about 0.19, not 1, at any number of models: read F beside its ceiling
    (`comparison`). `where_it_stops`: whether examples on which the published code stops raise, or have the epsilon that
    the module defines. Raises `InputError`.
    """
    u, r = models_by_examples(
        {"unlearned": unlearned, "retrained": retrained}, FEWEST_MODELS, equal_models=True, keep_singles=True
    )
    if u.dtype != r.dtype:
        u, r = u.astype(np.float64), r.astype(np.float64)
    largest = max(abs(side.min()) if abs(side.min()) > side.max() else side.max() for side in (u, r))
    if largest > LARGEST:
        raise InputError(
            f"values up to {largest:.3g} are no logit-scaled confidences (those stay within 103.7), and the published "
            "grid of absolute steps does not fit them; rescale them, or use the robust mode, which needs no scale"
        )
    models, examples = u.shape
    table = epsilon_table(models)
    epsilon = np.empty(examples)
    for place in range(examples):
        epsilon[place] = _epsilon(u[:, place], r[:, place], table)
    spread = np.maximum(u.max(axis=0), r.max(axis=0)) - np.minimum(u.min(axis=0), r.min(axis=0))
    stops = np.isnan(epsilon)
    if where_it_stops == "raise":
        _refuse(stops, spread)
    epsilon = np.where(stops, np.where(spread == 0, 0.0, CAP), np.minimum(epsilon, CAP))
    unresolved = stops | ((spread <= 1 / PER_UNIT) & (epsilon < CAP))
    points = points_of(epsilon, models)
    return OfficialScore(float(points.sum()) / examples, epsilon, points, unresolved, models)


def bins(models: int) -> int:
    """How many bins of width 0.5 earn points: 14 at 512 models, 10 at 64, 8 at 32, none below 3."""
    return 0 if models < FEWEST_MODELS else int(np.ceil(np.log(models - 1)) / BIN_WIDTH)


def points_of(epsilon: ArrayLike, models: int) -> Floats:
    """1 for epsilon in [0, 0.5), 1/2 in [0.5, 1), and so on; 0 beyond the last bin."""
    place = np.floor(np.asarray(epsilon, dtype=np.float64) / BIN_WIDTH)
    return np.where(place < bins(models), 2.0**-place, 0.0)


def epsilon_table(models: int) -> Singles:
    """Epsilon of an attack with `a` false positives and `c` false negatives out of `models`, `[a, c]`.

    In float32, as published: max(log(1 - delta - FPR) - log FNR, log(1 - delta - FNR) - log FPR), at least 0; infinite
    where both rates are 0, `DISCARDED` where one of them is ("too few samples") or neither logarithm exists.
    """
    rate = np.arange(models + 1, dtype=np.float32) / np.float32(models)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.log(1 - DELTA - rate)
        one_way = kept[:, None] - np.log(rate)[None, :]
    table = np.fmax(one_way, one_way.T)
    table = np.where(np.isnan(table), DISCARDED, np.maximum(table, np.float32(0)))
    table[0, :] = table[:, 0] = DISCARDED
    table[0, 0] = np.inf
    return np.ascontiguousarray(table)


def _refuse(stops: NDArray[np.bool_], spread: Floats) -> None:
    """Raise where the published code stops, with what is the matter and what to do about it."""
    with Faults("the published code has no forgetting score for these confidences") as faults:
        for which, why in (
            (stops & (spread == 0), "all values of both sides are equal"),
            (
                stops & (spread > 0),
                "all values lie so close together that no threshold of its grid tells them apart",
            ),
        ):
            places = np.flatnonzero(which).tolist()
            if places:
                faults.add(
                    f"it stops at {counted(len(places), 'example')} ({several([str(place) for place in places])}), where "
                    f"{why}; leave them out (numpy.delete(array, places, axis=1)), or use the robust score"
                )


def _epsilon(u: Floats, r: Floats, table: Singles) -> float:
    """Epsilon of one example before the cap, or NaN where no attack survives."""
    u, r = np.sort(u), np.sort(r)
    range_u, range_r = u[-1] - u[0], r[-1] - r[0]
    wide = max(range_u, range_r)
    if wide == 0 and u[0] == r[0]:
        return np.nan
    if wide > 0 and min(range_u, range_r) / wide < NARROW:
        return CAP
    positive, negative = (r, u) if np.median(r) > np.median(u) else (u, r)
    best = _single_thresholds(positive, negative, table)
    # Only a strictly smaller range keeps the side of the larger median positive.
    peaky, other = (
        (positive, negative)
        if positive[-1] - positive[0] < negative[-1] - negative[0]
        else (negative, positive)
    )
    best = max(best, _intervals(peaky, other, table, best))
    return np.nan if best < 0 else float(best)


@dataclass(frozen=True)
class _Pooled:
    """Both samples in one order: `values` `[2N]`, and how many of each side lie before each place `[2N + 1]`."""

    values: Floats
    positive: Integers
    negative: Integers

    @classmethod
    def of(cls, positive: Floats, negative: Floats) -> _Pooled:
        values = np.concatenate([positive, negative])
        order = np.argsort(values, kind="stable")
        before = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum(order < len(positive), out=before[1:])
        return cls(values[order], before, np.arange(len(values) + 1) - before)


def _single_thresholds(positive: Floats, negative: Floats, table: Singles) -> np.float32:
    """The strongest attack "positive from t on" over the published thresholds, which are float32."""
    pooled = _Pooled.of(positive, negative)
    lowest, highest = pooled.values[0], pooled.values[-1]
    thresholds = _float32_grid(lowest, highest, int(np.ceil((highest - lowest) * PER_UNIT)))
    # k values lie before t: the attack is on the grid if a threshold lies in (value k-1, value k].
    up_to = np.concatenate([[0], np.searchsorted(thresholds, pooled.values, side="right"), [len(thresholds)]])
    on_grid = up_to[1:] > up_to[:-1]
    epsilon = table[len(negative) - pooled.negative, pooled.positive]
    return np.max(epsilon, where=on_grid, initial=DISCARDED)


def _float32_grid(start: float, stop: float, count: int) -> Floats:
    """`count` float32 thresholds, counted from the nearer end as torch's linspace does, widened to float64."""
    first, last = np.float32(start), np.float32(stop)
    if count < 2:
        return np.full(count, first, dtype=np.float64)
    step = (last - first) / np.float32(count - 1)
    place = np.arange(count, dtype=np.float32)
    grid = np.where(place < count // 2, first + step * place, last - step * place[::-1])
    # Rounding can disorder neighbours only where the step is below float32's own.
    return np.sort(grid.astype(np.float64))


def _intervals(peaky: Floats, other: Floats, table: Singles, best: np.float32) -> np.float32:
    """The strongest attack "peaky side within [left, right]" above `best`, or `DISCARDED`."""
    pooled = _Pooled.of(peaky, other)
    models = len(peaky)
    width = peaky[-1] - peaky[0]
    first, last = peaky[0] + width - BUFFER, peaky[-1] + BUFFER
    rights = np.linspace(first, last, int(np.ceil((last - first) * PER_UNIT)))
    ends = np.searchsorted(pooled.values, rights, side="right")
    # Right ends between the same two values make the same attacks: one row for each such group.
    rows, opens, sizes = np.unique(ends, return_index=True, return_counts=True)
    column = pooled.positive - pooled.negative * (models + 1)
    offset = pooled.negative[rows] * (models + 1) + models - pooled.positive[rows]
    # Left ends far below all values are of one kind; those at or beyond the right end find nothing.
    reach = int(np.searchsorted(pooled.values, rights[-1] - width + BUFFER)) + 1
    found = table.ravel().take(offset[:, None] + column[None, : min(reach, len(column) - 1)], mode="clip")
    candidates = np.flatnonzero(found > best)
    row, before = np.divmod(candidates, found.shape[1])
    inside = before < rows[row]
    strength, row, before = found.ravel()[candidates[inside]], row[inside], before[inside]
    grid = _LeftEnds(rights, width, pooled.values, opens, sizes)
    return _strongest(strength, row, before, grid)


def _strongest(strength: Singles, row: Integers, before: Integers, grid: _LeftEnds) -> np.float32:
    """The largest strength that the grid holds; candidates are looked at in growing blocks from the top."""
    block = 32
    while len(strength):
        size = min(block, len(strength))
        top = np.argpartition(strength, len(strength) - size)[len(strength) - size :]
        held = grid.holds(row[top], before[top])
        if held.any():
            return np.max(strength[top][held])
        rest = np.ones(len(strength), dtype=np.bool_)
        rest[top] = False
        strength, row, before = strength[rest], row[rest], before[rest]
        block *= 8
    return DISCARDED


@dataclass(frozen=True)
class _LeftEnds:
    """The 400 left ends that the published rule tries for each right end, made only where they are asked for."""

    rights: Floats
    width: float
    values: Floats
    opens: Integers
    sizes: Integers

    def holds(self, row: Integers, before: Integers) -> NDArray[np.bool_]:
        """Whether, for a right end of group `row`, some left end has exactly `before` pooled values below it."""
        sizes = self.sizes[row]
        pair = np.repeat(np.arange(len(row)), sizes)
        right = self.rights[
            np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes - self.opens[row], sizes)
        ]
        before = before[pair]
        low = np.where(before > 0, self.values[before - 1], -np.inf)
        start, stop = right - self.width - BUFFER, right - self.width + BUFFER
        step = (stop - start) / (LEFT_ENDS - 1)
        guess = np.clip((low - start) / step, 0, LEFT_ENDS - 1).astype(np.int64)
        hit = np.zeros(len(pair), dtype=np.bool_)
        # The first end above `low` is the guess or a neighbour, whatever the rounding.
        for place in (guess - 1, guess, guess + 1, guess + 2):
            end = np.where(place == LEFT_ENDS - 1, stop, place.astype(step.dtype) * step + start)
            hit |= (end > low) & (end <= self.values[before]) & (place >= 0) & (place < LEFT_ENDS)
        return np.bincount(pair[hit], minlength=len(row)) > 0
