"""From logits to the one number per model and example that the forgetting scores read."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from efface.errors import Faults
from efface.forgetting.arrays import Floats, Integers, labels_of, numbers
from efface.metrics.base import Better, Classified, ClassifierMetric, Need

# The competition's floor below both probabilities; it bounds the confidence at about 103.6.
TINY = 1e-45


class Confidence(ClassifierMetric):
    """Log-odds of the true class."""

    name: ClassVar[str] = "confidence"
    short: ClassVar[str] = "confidence"
    title: ClassVar[str] = "Logit-scaled confidence"
    label: ClassVar[str] = "confidence"
    phrase: ClassVar[str] = "confidence (log-odds of the true class)"
    summary: ClassVar[str] = "Log-odds of the true class against all others."
    unit: ClassVar[str] = "log-odds"
    better: ClassVar[Better] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("labels",)
    by_image: ClassVar[bool] = True
    decides: ClassVar[bool] = True
    comparison: ClassVar[tuple[str, str] | None] = ("is more sure", "is less sure")

    def compute(self, answers: Classified) -> Floats:
        return logit_scaled_confidence(answers.logits, answers.labels)


def logit_scaled_confidence(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """`log p_y - log(sum of the other p)`, with the competition's floor: `[..., examples]`, -103.7 to 103.7.

    `logits` `[..., examples, classes]`, finite; `labels` `[examples]`, the true class of each. The logits
    are left as they are (the published function changes them in place). Raises `InputError`.
    Source: Carlini et al. (2022), arXiv:2112.03570, section VI-A; `metric.py` of the competition's evaluation.
    """
    array, index = _logits_and_labels(logits, labels)
    array = array - array.max(axis=-1, keepdims=True)
    shares = np.exp(array)
    shares /= shares.sum(axis=-1, keepdims=True)
    right = np.take_along_axis(shares, index, axis=-1)[..., 0]
    np.put_along_axis(shares, index, 0.0, axis=-1)
    confidence: Floats = np.log(right + TINY) - np.log(shares.sum(axis=-1) + TINY)
    return confidence


def margin(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """`z_y - logsumexp(other z)`: `[..., examples]`, the same quantity without a floor, for KLoM.

    Arguments and errors as `logit_scaled_confidence`. Source: Georgiev et al. (2024), arXiv:2410.23232.
    """
    array, index = _logits_and_labels(logits, labels)
    right = np.take_along_axis(array, index, axis=-1)[..., 0]
    others = array.copy()
    np.put_along_axis(others, index, -np.inf, axis=-1)
    result: Floats = right - logsumexp(others, axis=-1)
    return result


def _logits_and_labels(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Integers]:
    with Faults("these logits give no confidence") as faults:
        array = numbers(logits, "logits", faults, ndim=max(2, np.ndim(logits)))
        if array.shape[-1] < 2:
            faults.add(f"logits: need at least 2 classes on the last axis, got {array.shape[-1]}")
        index = labels_of(labels, array.shape[-1], array.shape[-2], faults)
    return array, np.broadcast_to(index[:, None], (*array.shape[:-1], 1))
