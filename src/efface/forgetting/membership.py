"""The entropy that knows the label, and the classifier attack that the field quotes as "MIA efficacy"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax, xlogy

from efface.errors import Faults
from efface.forgetting.arrays import Floats, Integers, labels_of, numbers
from efface.forgetting.declared import statistic
from efface.metrics.base import KNOWS, AttackMetric, Better, Need
from efface.settings import unknown_name

Feature = Literal["correctness", "confidence", "entropy", "modified_entropy", "probabilities"]
FEATURES: tuple[Feature, ...] = ("correctness", "confidence", "entropy", "modified_entropy", "probabilities")
# Below this a logarithm is cut, as everywhere in the attack's literature.
TINY = 1e-30
SVC_COST = 3.0


class SvcMembership(AttackMetric):
    """Share of forget images that a trained attack takes for unseen ones."""

    name: ClassVar[str] = "svc_membership"
    short: ClassVar[str] = "svc-membership"
    title: ClassVar[str] = "Membership attack by a trained classifier"
    label: ClassVar[str] = "trained membership attack"
    phrase: ClassVar[str] = "share that a trained attack calls unseen"
    summary: ClassVar[str] = (
        "Share of forget images that look unseen to an attack trained on retain and neutral images."
    )
    unit: ClassVar[str] = "share called non-members, 0 to 1"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("labels", "neutral")
    has_interval: ClassVar[bool] = False
    comparison: ClassVar[tuple[str, str] | None] = KNOWS

    def attack(self, answers: Mapping[str, tuple[Floats, Integers]], seed: int) -> float:
        members, others, forgotten = (
            (softmax(logits, axis=1), labels)
            for logits, labels in (answers[name] for name in ("retain", "neutral", "forget"))
        )
        return svc_attack(members, others, forgotten, feature="modified_entropy", seed=seed)


def entropy(probabilities: ArrayLike) -> Floats:
    """-sum p log p in nats: `[examples]` of `[examples, classes]`; 0 log 0 is 0. Raises `InputError`."""
    with Faults("these probabilities have no entropy") as faults:
        p = _probabilities(probabilities, "probabilities", faults)
    result: Floats = -xlogy(p, p).sum(axis=1)
    return result


@statistic(
    "Modified entropy",
    direction="match_retrained",
    range="from 0 up",
    reads="probabilities and labels of one model",
    source="arXiv:2003.10595",
    summary="Entropy that knows the true class: small for sure and right answers.",
)
def modified_entropy(probabilities: ArrayLike, labels: ArrayLike) -> Floats:
    """-(1 - p_y) log p_y - sum over other classes of p_i log(1 - p_i): `[examples]`, from 0 up.

    0 for a sure and right answer, large for a sure and wrong one. `probabilities` `[examples, classes]`, rows
    that sum to 1; `labels` `[examples]`. Raises `InputError`. Source: Song and Mittal (2021), arXiv:2003.10595. A
    widely copied version takes log p_i for the other classes and mixes examples with each other's labels.
    """
    with Faults("these probabilities have no modified entropy") as faults:
        p = _probabilities(probabilities, "probabilities", faults)
        y = labels_of(labels, p.shape[1] if p.ndim == 2 else 0, len(p), faults)
    return _modified_entropy(p, y)


@statistic(
    "SVC attack (MIA efficacy)",
    direction="match_retrained",
    range="0 to 1",
    reads="probabilities and labels of one model on retain, test and forget examples",
    source="arXiv:2310.12508; arXiv:2304.04934",
    summary="Share of forget examples that a trained classifier takes for never seen.",
)
def svc_attack(
    members: tuple[ArrayLike, ArrayLike],
    others: tuple[ArrayLike, ArrayLike],
    forgotten: tuple[ArrayLike, ArrayLike],
    *,
    feature: Feature = "confidence",
    seed: int = 0,
) -> float:
    """Share of forgotten examples that a trained attack calls "not a member": 0 to 1; the goal is the retrained model's.

    Each argument is (probabilities `[examples, classes]`, labels `[examples]`) of one model: on retain examples (members),
    on test examples (others), on forget examples. A support vector classifier (C = 3, radial kernel, both
    sets cut to one size with `seed`) learns to tell the first two apart by one `feature`. Raises `InputError`.
    Source: SalUn (Fan et al. 2024, arXiv:2310.12508) and L1-sparse (Jia et al. 2023, arXiv:2304.04934); the
    modified entropy is the correct one, unlike in their code. Features are not scaled, as there.
    """
    from sklearn.svm import SVC

    with Faults("the attack cannot be trained") as faults:
        if feature not in FEATURES:
            faults.add(unknown_name("feature", feature, FEATURES))
        given = []
        for name, (probabilities, labels) in (
            ("members", members),
            ("others", others),
            ("forgotten", forgotten),
        ):
            p = _probabilities(probabilities, name, faults)
            given.append((p, labels_of(labels, p.shape[1] if p.ndim == 2 else 0, len(p), faults)))
        if len({p.shape[1:] for p, _ in given}) > 1:
            faults.add("members, others and forgotten need the same classes")
    inside, outside, asked = (_feature(p, y, feature) for p, y in given)
    draws = np.random.default_rng(seed)
    size = min(len(inside), len(outside))
    inside, outside = (side[np.sort(draws.permutation(len(side))[:size])] for side in (inside, outside))
    attack = SVC(C=SVC_COST, kernel="rbf", gamma="auto")
    attack.fit(np.concatenate([inside, outside]), np.repeat([1, 0], size))
    return float(np.mean(attack.predict(asked) == 0))


def _modified_entropy(p: Floats, y: Integers) -> Floats:
    rows = np.arange(len(p))
    right = p[rows, y]
    others = p.copy()
    others[rows, y] = 0
    result: Floats = -(1 - right) * np.log(np.maximum(right, TINY))
    result -= np.sum(others * np.log(np.maximum(1 - others, TINY)), axis=1)
    return result


def _feature(p: Floats, y: Integers, feature: Feature) -> Floats:
    """`[examples, features]`"""
    if feature == "probabilities":
        return p
    if feature == "correctness":
        column: Floats = (p.argmax(axis=1) == y).astype(np.float64)
    elif feature == "confidence":
        column = p[np.arange(len(p)), y]
    else:
        column = entropy(p) if feature == "entropy" else _modified_entropy(p, y)
    return column.reshape(-1, 1)


def _probabilities(values: ArrayLike, name: str, faults: Faults) -> Floats:
    p = numbers(values, name, faults, ndim=2)
    if p.ndim == 2 and p.size and np.isfinite(p).all():
        if p.min() < 0 or p.max() > 1 + 1e-6:
            faults.add(f"{name}: probabilities must lie from 0 to 1, got {p.min():.4g} to {p.max():.4g}")
        elif np.abs(p.sum(axis=1) - 1).max() > 1e-3:
            faults.add(f"{name}: each row must sum to 1, row {np.abs(p.sum(axis=1) - 1).argmax()} does not")
    return p
