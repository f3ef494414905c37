"""Membership attacks that compare likelihoods under models with and without an example: LiRA, U-LiRA, RMIA.

Scores are larger for "was a member". `attack_quality` sums them up: an unlearned model is the better, the
closer the attack comes to a coin (AUC 0.5), and the goal is the retrained model's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from efface.errors import Faults, InputError
from efface.forgetting.arrays import Floats, models_by_examples, numbers
from efface.forgetting.confidence import logit_scaled_confidence
from efface.forgetting.declared import SHADOWS, statistic
from efface.metrics.base import KNOWS, Better, Classified, ClassifierMetric, Need

FLOOR_SD = 1e-6


class MembershipAuc(ClassifierMetric):
    """Share of neutral images that the model is less sure of."""

    name: ClassVar[str] = "membership_auc"
    short: ClassVar[str] = "membership"
    title: ClassVar[str] = "Membership attack by a threshold (AUC)"
    label: ClassVar[str] = "membership AUC"
    phrase: ClassVar[str] = "area under the curve of a threshold attack"
    summary: ClassVar[str] = "Chance that the model is surer of a forget image than of a neutral one."
    unit: ClassVar[str] = "0 to 1; 0.5 is a coin"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("labels", "neutral")
    comparison: ClassVar[tuple[str, str] | None] = KNOWS

    def compute(self, answers: Classified) -> Floats:
        assert answers.neutral is not None
        confidences = logit_scaled_confidence(answers.logits, answers.labels)
        # the mean of the shares that each image beats is the area under the curve
        return population_attack(confidences, logit_scaled_confidence(*answers.neutral))


@dataclass(frozen=True)
class AttackQuality:
    """`auc` 0 to 1 (0.5 is a coin); `tpr` at the false-positive rates 0.001, 0.01 and 0.1, in that order."""

    auc: float
    tpr: tuple[float, float, float]


def attack_quality(members: ArrayLike, others: ArrayLike) -> AttackQuality:
    """How well scores `members` `[n]` stand above scores `others` `[m]`; ties count half in the AUC.

    A rate is that of the largest set of highest scores that keeps its false positives within the bound, so with
    fewer than 1,000 `others` the first one allows no false positive at all. Raises `InputError`.
    Source: Carlini et al. (2022), arXiv:2112.03570, section IV.
    """
    with Faults("this attack has no quality") as faults:
        inside, outside = numbers(members, "members", faults), numbers(others, "others", faults)
    ranks = stats.rankdata(np.concatenate([inside, outside]))
    auc = (ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))
    highest = np.sort(outside)[::-1]
    rates = []
    for rate in (0.001, 0.01, 0.1):
        allowed = int(np.floor(rate * len(outside) + 1e-9))
        bound = highest[allowed] if allowed < len(highest) else -np.inf
        rates.append(float(np.mean(inside > bound)))
    return AttackQuality(float(auc), (rates[0], rates[1], rates[2]))


@statistic(
    "LiRA",
    direction="match_retrained",
    range="log likelihood ratio",
    reads=SHADOWS,
    source="arXiv:2112.03570",
    summary="Membership by the likelihood under models with and without the example.",
)
def lira(
    target: ArrayLike, inside: ArrayLike | None, outside: ArrayLike, *, shared_spread: bool = False
) -> Floats:
    """Log likelihood ratio "member" against "not" of each confidence of the target models: `[targets, examples]`.

    `target` `[targets, examples]`, `inside` and `outside` `[shadow models, examples]`: logit-scaled confidences
    under shadow models trained with and without each example. `inside` None is the offline attack:
    log P[N(mean, sd) <= target] of the outside models. `shared_spread` takes one spread for all examples, for few
    shadow models (the paper below 64). At least two shadow models a side. Raises `InputError`.
    Source: Carlini et al. (2022), arXiv:2112.03570, algorithm 1 and section VI.
    """
    given = {"target": target, "outside": outside} | ({} if inside is None else {"inside": inside})
    values, without, *more = models_by_examples(given)
    for name, side in (("outside", without), *(("inside", side) for side in more)):
        if len(side) < 2:
            raise InputError(f"{name}: a spread needs at least 2 shadow models, got {len(side)}")
    mean, spread = _normal(without, shared_spread)
    if not more:
        offline: Floats = stats.norm.logcdf(values, mean, spread)
        return offline
    mean_in, spread_in = _normal(more[0], shared_spread)
    ratio: Floats = stats.norm.logpdf(values, mean_in, spread_in) - stats.norm.logpdf(values, mean, spread)
    return ratio


@statistic(
    "U-LiRA",
    direction="match_retrained",
    range="0 to 1; 0.5 is perfect unlearning",
    reads=SHADOWS,
    source="arXiv:2403.01218",
    summary="Was the example trained on and unlearned, or never seen: with shadow models of both kinds.",
)
def u_lira(
    target: ArrayLike, unlearned: ArrayLike, never: ArrayLike, *, shared_spread: bool = False
) -> Floats:
    """Probability that an example was trained on and then unlearned, against never seen: `[targets, examples]`, 0 to 1.

    `unlearned` `[shadow models, examples]`: confidences under models that trained on each example and then unlearned a
    set with it; `never`: under models that never saw it. Confidences, not right-or-wrong: a Gaussian of
    zeros and ones says nothing. 0.5 everywhere is perfect unlearning. Raises `InputError`.
    Source: Hayes et al. (2024), arXiv:2403.01218.
    """
    ratio = lira(target, unlearned, never, shared_spread=shared_spread)
    probability: Floats = 1 / (1 + np.exp(-np.clip(ratio, -700, 700)))
    return probability


@statistic(
    "RMIA",
    direction="match_retrained",
    range="0 to 1",
    reads="probabilities of the true class under the attacked and reference models, and of a population",
    source="arXiv:2312.03262",
    summary="Membership by the share of population examples that the example beats; few reference models suffice.",
)
def rmia(
    target: ArrayLike,
    outside: ArrayLike,
    population_target: ArrayLike,
    population: ArrayLike,
    *,
    a: float = 0.3,
    gamma: float = 1.0,
) -> Floats:
    """Share of population examples that each example beats in likelihood ratio: `[examples]`, 0 to 1.

    Probabilities of the true class, 0 to 1: `target` `[examples]` and `population_target` `[population]` under the
    attacked model, `outside` `[reference models, examples]` and `population` `[reference models, population]`
    under models trained without them. LR(x, z) = (p(x|t) / p(x)) / (p(z|t) / p(z)), where p(x) =
    (1 + a) / 2 mean p_out(x) + (1 - a) / 2 stands for a mean over models with and without x, and p(z) likewise;
    an example scores the share of z with LR > gamma. `a` is chosen by attacking a reference model. One reference
    model suffices. Raises `InputError`, also where p(x) or p(z) is 0. Source: Zarifzadeh et al. (2024),
    arXiv:2312.03262; p(z) and the strict inequality as in the authors' `ml_privacy_meter` (`attacks.run_rmia`).
    """
    with Faults("RMIA cannot be computed") as faults:
        x = numbers(target, "target", faults)
        z = numbers(population_target, "population_target", faults)
        x_out, z_out = numbers(outside, "outside", faults, 2), numbers(population, "population", faults, 2)
        for name, side, count in (("outside", x_out, len(x)), ("population", z_out, len(z))):
            if side.size and side.shape[1] != count:
                faults.add(f"{name}: has {side.shape[1]} examples where the attacked model has {count}")
        for name, side in (
            ("target", x),
            ("population_target", z),
            ("outside", x_out),
            ("population", z_out),
        ):
            if side.size and (np.nanmin(side) < 0 or np.nanmax(side) > 1):
                faults.add(f"{name}: probabilities must lie from 0 to 1")
        if not 0 <= a <= 1 or gamma <= 0:
            faults.add(f"a must lie from 0 to 1 and gamma above 0, got {a} and {gamma}")
    # summed from the largest down, as published: where examples tie, rounding decides
    means = ((-np.sort(-side.T, axis=1)).mean(axis=1) for side in (x_out, z_out))
    p_x, p_z = ((1 + a) / 2 * mean + (1 - a) / 2 for mean in means)
    with Faults("RMIA is not defined") as faults:
        for name, p in (("outside", p_x), ("population", p_z)):
            if not p.all():
                faults.add(
                    f"{name}: every reference model gives example {int(np.argmin(p))} the probability 0, and nothing can "
                    "be divided by it; leave such examples out, or choose a below 1"
                )
    beaten = np.searchsorted(np.sort(z / p_z), x / p_x / gamma, side="left")
    result: Floats = beaten / len(z)
    return result


@statistic(
    "Population attack",
    direction="match_retrained",
    range="0 to 1; 0.5 on average if forgotten",
    reads="one statistic of one model on forget and never-seen examples",
    source="arXiv:2111.09679",
    summary="Share of never-seen examples that the model is less sure of.",
)
def population_attack(target: ArrayLike, population: ArrayLike) -> Floats:
    """Share of never-seen examples with a smaller confidence: `[examples]`, 0 to 1; 0.5 on average if forgotten.

    `target` `[examples]`, `population` `[population]`: the same statistic of one model, larger for members. Ties count
    half. It knows no example's difficulty, so it overstates privacy: a bound from below. Raises `InputError`.
    Source: Ye et al. (2022), arXiv:2111.09679, attack P; Shokri et al. (2017), arXiv:1610.05820.
    """
    with Faults("the population attack cannot be computed") as faults:
        x, z = numbers(target, "target", faults), np.sort(numbers(population, "population", faults))
    result: Floats = (np.searchsorted(z, x, "left") + np.searchsorted(z, x, "right")) / (2 * len(z))
    return result


def _normal(shadow: Floats, shared: bool) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    mean = shadow.mean(axis=0)
    if shared:
        variance = np.sum((shadow - mean) ** 2) / (shadow.shape[1] * (len(shadow) - 1))
        return mean, max(float(np.sqrt(variance)), FLOOR_SD)
    return mean, np.maximum(shadow.std(axis=0, ddof=1), FLOOR_SD)
