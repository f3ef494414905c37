"""Distances between what an unlearned model and its references answer: accuracies, predictions, probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from efface.errors import Faults
from efface.forgetting.arrays import Floats, numbers


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


def activation_distance(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """Mean Euclidean distance of two models' probabilities on the same examples: 0 to sqrt 2, down.

    Both `[examples, classes]`. Raises `InputError`. Source: Golatkar et al. (2021), arXiv:2012.13431; Chundawat et al.
    (2023), arXiv:2205.08096. (SUPREME takes the root of the mean square instead.)
    """
    u, r = _two(unlearned, retrained)
    return float(np.linalg.norm(u - r, axis=1).mean())


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


def prediction_agreement(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """Share of examples on which both models give one class: 0 to 1, up.

    Both `[examples, classes]`, probabilities or logits; the first of equal classes counts. Also known by its
    opposite, churn. Raises `InputError`. Source: Milani Fard et al. (2016), "Launch and iterate", NeurIPS.
    """
    with Faults("these answers cannot be compared") as faults:
        u, r = numbers(unlearned, "unlearned", faults, 2), numbers(retrained, "retrained", faults, 2)
        _same_shape(u, r, faults)
    same: NDArray[np.bool_] = u.argmax(axis=1) == r.argmax(axis=1)
    return float(same.mean())


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
