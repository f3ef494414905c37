"""Inception score: are pictures taken for one class each, and for many classes together?

    IS = exp( mean_x KL( p(y | x) || p(y) ) ),   p(y) = mean_x p(y | x)

Salimans et al. (2016), "Improved Techniques for Training GANs", arXiv:1606.03498, section 4. The exponent is the
mutual information between picture and predicted class. It looks at outputs alone: no true image enters.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from efface.metrics.base import Better, Measured, Need, RestoredSet, SetMetric
from efface.metrics.inputs import MetricInputError
from efface.randomness import numpy_draws

SPLITS = 10
IMAGES_PER_SPLIT = 10
# Sums of a thousand 32-bit or 16-bit probabilities.
SUM_TOLERANCE = 1e-2


class InceptionScore(SetMetric):
    """Inception score of the restored pictures, where the extractor classifies."""

    name: ClassVar[str] = "inception_score"
    short: ClassVar[str] = "inception"
    title: ClassVar[str] = "Inception score"
    label: ClassVar[str] = "Inception score"
    phrase: ClassVar[str] = "Inception score"
    summary: ClassVar[str] = (
        "Are outputs taken for one class each, and for many together? Never compared with the true images."
    )
    unit: ClassVar[str] = "1 to the number of classes"
    least: ClassVar[float] = 1.0
    better: ClassVar[Better] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("features", "probabilities")
    has_interval: ClassVar[bool] = False
    published: ClassVar[str | None] = "Inception score"

    def distance(self, restored: RestoredSet) -> Measured:
        assert restored.probabilities is not None
        # crops of one image are no further evidence
        refused = inception_score_refusal(restored.images)
        if refused:
            return Measured(None, None, refused)
        score = inception_score(restored.probabilities, order_seed=restored.seed)
        note = f"mean over {SPLITS} parts of the images, whose standard deviation is {score.std:.3g}; no interval"
        return Measured(score.mean, None, note)


class MeanOfParts(NamedTuple):
    """The mean over splits and their standard deviation (divisor splits - 1; None with one split)."""

    mean: float
    std: float | None


def inception_score(
    probabilities: ArrayLike, splits: int = SPLITS, *, order_seed: int | None = 0
) -> MeanOfParts:
    """The score of `probabilities` [N, classes], each row what a classifier thinks of one picture; from 1 to classes.

    The images are dealt into `splits` parts in an order drawn with `order_seed`, so that a folder sorted by class
    does not give parts of one class; None keeps their order. Part sizes differ by one image at most. The standard
    deviation is that of the parts and no confidence interval.

    Raises `MetricInputError` where `inception_score_refusal` has something to say, and for rows that are no
    probabilities.
    """
    rows = _checked(probabilities)
    if refused := inception_score_refusal(len(rows), splits):
        raise MetricInputError(refused)
    # Rows of 32-bit networks sum to 1 only roughly; the divergence is exact for what sums to 1.
    rows = rows / rows.sum(axis=1, keepdims=True)
    if order_seed is not None:
        rows = rows[numpy_draws(order_seed, "inception score").permutation(len(rows))]
    scores = np.array([_of_one_part(part) for part in np.array_split(rows, splits)])
    return MeanOfParts(float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else None)


def inception_score_refusal(n: int, splits: int = SPLITS) -> str | None:
    """Why `n` images do not carry a score over `splits` parts; None if they do.

    A part of m images scores at most m, so with few images the score says how many there are.
    """
    if splits < 1:
        return f"the Inception score needs at least one split, got {splits}"
    needed = IMAGES_PER_SPLIT * splits
    if n >= needed:
        return None
    return (
        f"the Inception score over {splits} splits needs at least {needed} images, got {n}; "
        "use more images or fewer splits"
    )


def _of_one_part(rows: NDArray[np.float64]) -> float:
    return float(np.exp(rel_entr(rows, rows.mean(axis=0)).sum(axis=1).mean()))


def _checked(probabilities: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise MetricInputError(
            f"probabilities must be [images, classes] with two classes or more, got {rows.shape}"
        )
    bad = ~(np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1))
    bad |= ~(np.abs(rows.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if bad.any():
        raise MetricInputError(
            f"{int(bad.sum())} of {len(rows)} rows are no probabilities (0 or more, sum 1), the first is row "
            f"{int(bad.argmax())}: apply a softmax to logits first"
        )
    return rows
