"""Two-sample tests on features of pictures: can forgotten images' outputs be told from others?

Pure functions on arrays, one row a photo: `[photos, features]`. The classifier test follows Lopez-Paz and Oquab (2017),
"Revisiting classifier two-sample tests", arXiv:1610.06545, with the area under the curve as statistic (as held-out
log-odds in Kim et al. 2021); the kernel test is Gretton et al. (2012), "A kernel two-sample test", JMLR 13, equation 3.

Cross-validated scores of few photos have a known trap: where scores of several folds are pooled, a photo is compared
with one that its own model was trained on, and data without any difference give areas below 0.5 (0.48 for 6 photos a
side in 5 folds; lower the smaller the folds). So scores are compared within a fold only (`area_within_folds`). A fold is
independent of what its model was trained on, so the expected area is 0.5 where there is no difference, at any number of
photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from efface.errors import InputError
from efface.probes.base import Scores
from efface.probes.subject import Values
from efface.randomness import numpy_draws

FORGET, OTHERS = "forget", "neutral"
MANY_FEATURES = 256
Integers = npt.NDArray[np.int64]
Labels = Sequence[str | None]


@dataclass(frozen=True)
class Matched:
    """Which photos of both sides are compared, so that they are of the same classes.

    forget, neutral: their places. weights `[neutral photos]`: of mean 1, such that each class weighs among neutral
    photos what it weighs among forget photos. strata: the class of each photo by number. note: what was done, in words.
    """

    forget: Integers
    neutral: Integers
    weights: Values
    forget_strata: Integers
    neutral_strata: Integers
    note: str


def matched(forget: Labels, neutral: Labels) -> Matched:
    """Photos of the classes that both sides have; all photos, as of one class, where they have none in common."""
    common = sorted({label for label in forget if label is not None} & set(neutral) - {None}, key=str)
    if not common:
        return Matched(
            np.arange(len(forget)),
            np.arange(len(neutral)),
            np.ones(len(neutral)),
            np.zeros(len(forget), np.int64),
            np.zeros(len(neutral), np.int64),
            "forget and neutral images have no class in common: all were compared, so a difference of "
            "classes shows as well",
        )
    number: dict[str | None, int] = {label: place for place, label in enumerate(common)}
    sides = [[number.get(label, -1) for label in labels] for labels in (forget, neutral)]
    places = [np.flatnonzero(np.array(side) >= 0) for side in sides]
    strata = [np.array(side)[some] for side, some in zip(sides, places, strict=True)]
    shares = [np.bincount(some, minlength=len(common)) / len(some) for some in strata]
    left_out = len(forget) - len(places[0])
    note = f"neutral images weighted class by class, {len(common)} in common"
    if left_out:
        note += f"; {left_out} forget images of other classes left out"
    weights = (shares[0] / shares[1])[strata[1]]
    return Matched(places[0], places[1], weights, strata[0], strata[1], note)


def detect(
    forget: Values,
    neutral: Values,
    *,
    weights: Values | None = None,
    strata: tuple[Integers, Integers] | None = None,
    folds: int = 5,
    repeats: int = 5,
    penalty: float = 10.0,
    seed: int = 0,
) -> Scores:
    """Out-of-fold scores of an L2 logistic regression that tells `forget` from `neutral` rows, for `area_within_folds`.

    Features are standardised by the training folds. Arrays `[photos, 1 + repeats]`: the photo's weight (1 on the
    forget side), then for each repeat the number of its fold plus its rank within it as a fraction in (0, 1), higher
    for more like forget. weights, strata: as in `Matched`; folds hold alike shares of each stratum. penalty: the weight
    of half the squared coefficients against the sum of the losses. Folds depend on the seed and the sizes alone, so
    those of two models on the same photos are the same. Raises `InputError` below two photos a side.
    """
    if min(len(forget), len(neutral)) < 2:
        raise InputError(
            f"telling {len(forget)} forget from {len(neutral)} neutral photos: at least 2 of each are needed"
        )
    rows = np.concatenate([forget, neutral]).astype(np.float64)
    positive = np.repeat([True, False], [len(forget), len(neutral)])
    weight = np.concatenate([np.ones(len(forget)), np.ones(len(neutral)) if weights is None else weights])
    stratum = np.zeros(len(rows), np.int64) if strata is None else np.concatenate(strata)
    count = min(folds, len(forget), len(neutral))
    draws = numpy_draws(seed, "two-sample folds")
    columns = [weight]
    for _ in range(repeats):
        fold = _folds(positive, stratum, count, draws)
        column = np.empty(len(rows))
        for number in range(count):
            out = fold == number
            scores = _fitted(rows[~out], positive[~out], weight[~out], rows[out], penalty)
            column[out] = number + rankdata(scores) / (out.sum() + 1)
        columns.append(column)
    table = np.stack(columns, axis=1)
    return {FORGET: table[positive], OTHERS: table[~positive]}


def area_within_folds(scores: Scores) -> float:
    """Weighted share of pairs of one fold in which the forget photo scores higher, over all folds and repeats.

    0.5 is chance, 1 certainty; ties count half. scores: of `detect`. nan where no fold has both sides.
    """
    forget, neutral = scores[FORGET], scores[OTHERS]
    won = pairs = 0.0
    for column in range(1, forget.shape[1]):
        order = np.argsort(neutral[:, column], kind="stable")
        values = neutral[order, column]
        cumulated = np.concatenate([[0.0], np.cumsum(neutral[order, 0])])
        mine = forget[:, column]
        start = cumulated[np.searchsorted(values, np.floor(mine))]
        below = cumulated[np.searchsorted(values, mine)]
        through = cumulated[np.searchsorted(values, mine, side="right")]
        end = cumulated[np.searchsorted(values, np.floor(mine) + 1)]
        won += float(((below + through) / 2 - start).sum())
        pairs += float((end - start).sum())
    return won / pairs if pairs else float("nan")


def kernel_rows(forget: Values, neutral: Values, weights: Values | None = None) -> Scores:
    """What `kernel_difference` needs of each photo, so that photos can be drawn anew.

    The kernel is Gaussian on features standardised over both sides together, its width the median distance.
    `[forget, 1 + F + N]`: place, kernel to every forget and every neutral photo. `[neutral, 2 + N]`: place, weight,
    kernel to every neutral photo.
    """
    rows = np.concatenate([forget, neutral]).astype(np.float64)
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    squared = cdist(rows, rows, "sqeuclidean")
    width = float(np.median(squared[np.triu_indices(len(rows), 1)]))
    kernel = np.exp(-squared / (2 * width)) if width else (squared == 0).astype(np.float64)
    first = len(forget)
    weights = np.ones(len(neutral)) if weights is None else weights
    return {
        FORGET: np.column_stack([np.arange(first), kernel[:first]]),
        OTHERS: np.column_stack([np.arange(len(neutral)), weights, kernel[first:, first:]]),
    }


def kernel_difference(scores: Scores) -> float:
    """Unbiased squared maximum mean discrepancy of `kernel_rows`; near 0, also below, where there is no difference.

    A photo drawn twice is not compared with its copy. nan with fewer than two different photos on a side.
    """
    forget, neutral = scores[FORGET], scores[OTHERS]
    count = neutral.shape[1] - 2
    mine = forget.shape[1] - 1 - count
    f = np.bincount(forget[:, 0].astype(np.int64), minlength=mine).astype(np.float64)
    n = np.bincount(neutral[:, 0].astype(np.int64), weights=neutral[:, 1], minlength=count)
    sums = forget[:, 1:].sum(axis=0)
    pairs_f, pairs_n = f.sum() ** 2 - f @ f, n.sum() ** 2 - n @ n
    if pairs_f <= 0 or pairs_n <= 0:
        return float("nan")
    # a photo's kernel to itself is 1
    within_f = (sums[:mine] @ f - f @ f) / pairs_f
    within_n = ((neutral[:, 1] @ neutral[:, 2:]) @ n - n @ n) / pairs_n
    return float(within_f + within_n - 2 * (sums[mine:] @ n) / (f.sum() * n.sum()))


def permutation_p(
    scores: Scores,
    strata: tuple[Integers, Integers] | None = None,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> float:
    """Chance of a kernel difference as large as that of `kernel_rows` had sides been dealt at random within strata.

    Exact at any number of photos: `(1 + at least as large) / (1 + permutations)`. Statistic: the squared distance of
    the mean embeddings, which orders deals of given sizes and weights as the unbiased one does up to its diagonal.
    """
    forget, neutral = scores[FORGET], scores[OTHERS]
    first, others = len(forget), len(neutral)
    kernel = np.empty((first + others, first + others))
    kernel[:first], kernel[first:, :first] = forget[:, 1:], forget[:, 1 + first :].T
    kernel[first:, first:] = neutral[:, 2:]
    side = np.concatenate([np.full(first, 1 / first), -neutral[:, 1] / neutral[:, 1].sum()])
    stratum = np.zeros(first + others, np.int64) if strata is None else np.concatenate(strata)
    draws = numpy_draws(seed, "two-sample permutations")
    home = np.argsort(stratum, kind="stable")
    deals = np.empty((permutations + 1, len(side)))
    deals[0] = side
    for row in range(1, permutations + 1):
        dealt = np.lexsort((draws.random(len(side)), stratum))
        deals[row, home] = side[dealt]
    values = ((deals @ kernel) * deals).sum(axis=1)
    larger = int((values[1:] >= values[0] * (1 - 1e-12)).sum())
    return (1 + larger) / (1 + permutations)


def _folds(
    positive: npt.NDArray[np.bool_], stratum: Integers, count: int, draws: np.random.Generator
) -> Integers:
    """A fold for each row: dealt in turn, each side and stratum in random order."""
    fold = np.empty(len(positive), np.int64)
    for side in (True, False):
        places = np.flatnonzero(positive == side)
        order = np.lexsort((draws.random(len(places)), stratum[places]))
        fold[places[order]] = np.arange(len(places)) % count
    return fold


def _fitted(
    rows: Values, positive: npt.NDArray[np.bool_], weight: Values, out: Values, penalty: float
) -> Values:
    """Log odds of `out` by a regression fitted to the other rows, both sides of equal weight."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1)
    both = np.where(positive, weight / weight[positive].sum(), weight / weight[~positive].sum())
    # both find the one optimum; which is faster depends on the number of features
    solver = "newton-cholesky" if rows.shape[1] <= MANY_FEATURES else "lbfgs"
    model = LogisticRegression(C=1 / penalty, solver=solver, max_iter=2000, tol=1e-6)
    model.fit((rows - mean) / scale, positive, sample_weight=both * len(rows) / 2)
    scores: Values = model.decision_function((out - mean) / scale)
    return scores
