"""Distances between what an unlearned model and its references answer: accuracies, predictions, probabilities."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, rel_entr, softmax

from efface.errors import Faults
from efface.forgetting.arrays import Floats, numbers
from efface.forgetting.declared import statistic
from efface.metrics.base import Better, Classified, ClassifierMetric, Need, Yardstick

SQRT_2 = sqrt(2)


class Accuracy(ClassifierMetric):
    """Whether the label is the most likely class."""

    name: ClassVar[str] = "accuracy"
    short: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "Accuracy"
    label: ClassVar[str] = "accuracy"
    phrase: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "Share of images whose label is the most likely class."
    unit: ClassVar[str] = "share of images, 0 to 1"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("labels",)
    ratio: ClassVar[bool] = True
    yardstick: ClassVar[Yardstick | None] = Yardstick()

    def compute(self, answers: Classified) -> Floats:
        right: Floats = (answers.logits.argmax(1) == answers.labels).astype(np.float64)
        return right


class CrossEntropy(ClassifierMetric):
    """Minus the log probability of the true class."""

    name: ClassVar[str] = "cross_entropy"
    short: ClassVar[str] = "cross-entropy"
    title: ClassVar[str] = "Cross-entropy"
    label: ClassVar[str] = "cross-entropy"
    phrase: ClassVar[str] = "cross-entropy"
    summary: ClassVar[str] = "How unlikely the true class was thought to be."
    unit: ClassVar[str] = "nats, from 0"
    least: ClassVar[float] = 0.0
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("labels",)
    ratio: ClassVar[bool] = True

    def compute(self, answers: Classified) -> Floats:
        logits = answers.logits
        losses: Floats = logsumexp(logits, axis=1) - logits[np.arange(len(logits)), answers.labels]
        return losses


class ActivationDistance(ClassifierMetric):
    """Distance of two models' class probabilities."""

    name: ClassVar[str] = "activation_distance"
    short: ClassVar[str] = "activation-distance"
    title: ClassVar[str] = "Distance of the probabilities from the retrained model's"
    label: ClassVar[str] = "activation distance"
    phrase: ClassVar[str] = "distance of the probabilities from the retrained model's"
    summary: ClassVar[str] = "Euclidean distance of two models' class probabilities."
    unit: ClassVar[str] = "0 to 1.41"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = SQRT_2
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("retrained",)

    def compute(self, answers: Classified) -> Floats:
        assert answers.retrained is not None
        return activation_distance(softmax(answers.logits, axis=1), softmax(answers.retrained, axis=1))


class PredictionAgreement(ClassifierMetric):
    """Whether two models answer with one class."""

    name: ClassVar[str] = "prediction_agreement"
    short: ClassVar[str] = "agreement"
    title: ClassVar[str] = "Agreement with the retrained model"
    label: ClassVar[str] = "agreement"
    phrase: ClassVar[str] = "agreement with the retrained model"
    summary: ClassVar[str] = "Share of images on which both models answer with one class."
    unit: ClassVar[str] = "share of images, 0 to 1"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("retrained",)

    def compute(self, answers: Classified) -> Floats:
        assert answers.retrained is not None
        return prediction_agreement(answers.logits, answers.retrained)


@statistic(
    "Tug of war",
    direction="up",
    range="0 to 1",
    reads="accuracies on forget, retain and test examples, unlearned and retrained",
    source="arXiv:2406.01257",
    summary="Product of how near the three accuracies are to the retrained model's.",
)
def tug_of_war(unlearned: tuple[float, float, float], retrained: tuple[float, float, float]) -> float:
    """(1 - |d forget|)(1 - |d retain|)(1 - |d test|): 0 to 1, up; 1 where all three accuracies are the retrained model's.

    Both arguments are accuracies from 0 to 1 on the (forget, retain, test) sets. Raises `InputError`.
    Source: Zhao et al. (2024), arXiv:2406.01257.
    """
    with Faults("the tug of war cannot be computed") as faults:
        u, r = numbers(unlearned, "unlearned", faults), numbers(retrained, "retrained", faults)
        for name, side in (("unlearned", u), ("retrained", r)):
            if side.shape != (3,) or not ((side >= 0) & (side <= 1)).all():
                faults.add(
                    f"{name}: needs three accuracies from 0 to 1 (forget, retain, test), got {side.tolist()}"
                )
    return float(np.prod(1 - np.abs(u - r)))


@statistic(
    "Activation distance",
    direction="down",
    range="0 to 1.414",
    reads="probabilities of both models on the same examples",
    source="arXiv:2012.13431; arXiv:2205.08096",
    summary="Mean distance of the unlearned model's probabilities from the retrained model's.",
)
def activation_distance(unlearned: ArrayLike, retrained: ArrayLike) -> Floats:
    """Euclidean distance of two models' probabilities on each example: `[examples]`, 0 to sqrt 2, down.

    Both `[examples, classes]`; the statistic is the mean. Raises `InputError`. Source: Golatkar et al. (2021),
    arXiv:2012.13431; Chundawat et al. (2023), arXiv:2205.08096. (SUPREME takes the root of the mean square instead.)
    """
    u, r = _two(unlearned, retrained)
    distances: Floats = np.linalg.norm(u - r, axis=1)
    return distances


@statistic(
    "ZRF",
    direction="match_retrained",
    range="0 to 1",
    reads="probabilities of the unlearned and of an untrained model on forget examples",
    source="arXiv:2205.08096",
    summary="How near the answers on forget examples are to those of a model that was never trained.",
)
def zero_retrain_forgetting(unlearned: ArrayLike, random: ArrayLike, *, as_published: bool = False) -> float:
    """ZRF: 1 - mean Jensen-Shannon divergence of the unlearned model from a random one: 0 to 1, towards the retrained's.

    Both `[examples, classes]`: probabilities on the forget examples, `random` those of an untrained model. The
    divergence is in bits, so its range is 0 to 1. 1 means random answers, which is not what retraining gives:
    compare with its value. `as_published` follows the reference code instead: KL from the mean to each side in
    nats, averaged over examples and classes alike, which squeezes the value towards 1. Raises `InputError`.
    Source: Chundawat et al. (2023), arXiv:2205.08096.
    """
    u, v = _two(unlearned, random)
    middle = (u + v) / 2
    if as_published:
        tiny = np.finfo(np.float64).tiny
        sides = (rel_entr(middle, np.maximum(side, tiny)).mean() for side in (u, v))
        return float(1 - sum(sides) / 2)
    divergence = (rel_entr(u, middle) + rel_entr(v, middle)).sum(axis=1) / (2 * np.log(2))
    return float(1 - divergence.mean())


@statistic(
    "Prediction agreement",
    direction="up",
    range="0 to 1",
    reads="answers of both models on the same examples",
    source="Milani Fard et al. (2016)",
    summary="Share of examples on which the unlearned and the retrained model give one class.",
)
def prediction_agreement(unlearned: ArrayLike, retrained: ArrayLike) -> Floats:
    """Whether both models give one class to each example: `[examples]`, 0 or 1, up.

    Both `[examples, classes]`, probabilities or logits; the first of equal classes counts. The statistic is the mean, also
    known by its opposite, churn. Raises `InputError`. Source: Milani Fard et al. (2016), "Launch and iterate", NeurIPS.
    """
    with Faults("these answers cannot be compared") as faults:
        u, r = numbers(unlearned, "unlearned", faults, 2), numbers(retrained, "retrained", faults, 2)
        _same_shape(u, r, faults)
    same: Floats = (u.argmax(axis=1) == r.argmax(axis=1)).astype(np.float64)
    return same


def _two(one: ArrayLike, other: ArrayLike) -> tuple[Floats, Floats]:
    with Faults("these probabilities cannot be compared") as faults:
        sides = numbers(one, "the first", faults, 2), numbers(other, "the second", faults, 2)
        _same_shape(*sides, faults)
        for name, side in zip(("the first", "the second"), sides, strict=True):
            if side.size and (np.nanmin(side) < 0 or np.abs(side.sum(axis=-1) - 1).max() > 1e-3):
                faults.add(f"{name}: needs probabilities, rows from 0 to 1 that sum to 1")
    return sides


def _same_shape(one: Floats, other: Floats, faults: Faults) -> None:
    if one.shape != other.shape:
        faults.add(f"both need the same examples and classes, got {one.shape} and {other.shape}")
