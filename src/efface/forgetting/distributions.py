"""Distances between what unlearned and retrained models say of an example: two samples of one number each.

All read `[models, examples]` and give one value per example. Better is smaller; 0 is what retraining
against itself tends to as models grow, but not what it gives at a finite number: compare with that value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from efface.errors import InputError
from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.declared import CONFIDENCES, statistic

CLIP = 100.0
FLOOR = 1e-5
FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """`statistic` `[examples]`, 0 to 1: the largest distance of the two distribution functions.

    `p_value` `[examples]`: exact two-sided. `adjusted` `[examples]`: after Benjamini and Hochberg, so that calling
    those below 0.05 different is wrong for at most one in twenty of the called (`rejected`, their share of all examples).
    """

    statistic: Floats
    p_value: Floats
    adjusted: Floats
    rejected: float


@statistic(
    "Kolmogorov-Smirnov test",
    direction="down",
    range="0 to 1, with adjusted p values",
    reads=CONFIDENCES,
    source="Benjamini and Hochberg (1995); used in arXiv:2406.09073",
    summary="Share of examples whose two distributions differ, at a false discovery rate of 5 %.",
)
def kolmogorov_smirnov(unlearned: ArrayLike, retrained: ArrayLike) -> KolmogorovSmirnov:
    """The two-sample test for every example, with the false discovery rate held at 5 %.

    `unlearned`, `retrained` `[models, examples]`, any numbers of models. Raises `InputError`. Sources: Kolmogorov (1933),
    Smirnov (1939), as in scipy; Benjamini and Hochberg (1995), JRSS B 57, valid as the examples of shared models are
    positively dependent (Benjamini and Yekutieli 2001). Used on forget examples in arXiv:2406.09073.
    """
    u, r = models_by_examples({"unlearned": unlearned, "retrained": retrained}, 2)
    tests = [stats.ks_2samp(u[:, place], r[:, place]) for place in range(u.shape[1])]
    p_value = np.array([test.pvalue for test in tests])
    adjusted = stats.false_discovery_control(p_value, method="bh")
    statistic = np.array([test.statistic for test in tests])
    return KolmogorovSmirnov(statistic, p_value, adjusted, float(np.mean(adjusted <= FALSE_DISCOVERIES)))


@statistic(
    "KL of margins",
    direction="down",
    range="nats, from 0 up",
    reads="margins [models, examples] of unlearned and retrained models",
    source="arXiv:2410.23232; arXiv:2602.16400",
    summary="How far the binned margins of unlearned models are from those of retrained ones.",
)
def klom(unlearned: ArrayLike, retrained: ArrayLike, *, bins: int = 20) -> Floats:
    """KL of binned margins, KL(unlearned || retrained) in nats: `[examples]`, from 0 up.

    `unlearned`, `retrained` `[models, examples]`: margins (`confidence.margin`), clipped to -100..100. Each
    example has `bins` equal bins from the smallest to the largest margin of both sides. As in the authors' code, the
    largest margin itself lies in no bin, a retrained share is at least 1e-5 where an unlearned one is not 0, and shares are
    made to sum to 1 again. An example whose margins are all equal has 0. float32 margins are binned in float32.
    Raises `InputError`, also where no unlearned margin lies in a bin (the authors' code gives NaN).
    Source: Georgiev et al. (2024), arXiv:2410.23232; code of EasyDUB, arXiv:2602.16400 (`eval.kl_from_margins`).
    """
    sides = models_by_examples({"unlearned": unlearned, "retrained": retrained}, keep_singles=True)
    if bins < 2:
        raise InputError(f"bins: at least 2, got {bins}")
    u, r = (np.clip(side, -CLIP, CLIP) for side in sides)
    low, high = np.minimum(u.min(axis=0), r.min(axis=0)), np.maximum(u.max(axis=0), r.max(axis=0))
    edges = np.linspace(low, np.where(low < high, high, low + 1), bins + 1)
    in_bins, of_retrained = (_counts(side, edges) for side in (u, r))
    if not in_bins.any(axis=0).all():
        outside = np.flatnonzero(~in_bins.any(axis=0))
        raise InputError(
            f"KLoM is not defined for {len(outside)} of {len(low)} examples, the first at place {outside[0]}: all "
            "unlearned margins equal the largest of both sides, which lies in no bin of the published code, so that shares "
            "are 0 / 0. Leave such examples out, or take the energy distance, which needs no bins"
        )
    p, q = (counts / np.maximum(counts.sum(axis=0), 1) for counts in (in_bins, of_retrained))
    result: Floats = stats.entropy(p, np.where(p > 0, np.maximum(q, FLOOR), q))
    return result


@statistic(
    "Energy distance",
    direction="down",
    range="unit of the statistic, from 0 up",
    reads=CONFIDENCES,
    source="Szekely and Rizzo (2013)",
    summary="Distance of the two distributions without bins or tests.",
)
def energy_distance(unlearned: ArrayLike, retrained: ArrayLike) -> Floats:
    """2 E|U - R| - E|U - U'| - E|R - R'|: `[examples]`, from 0 up, in the unit of the statistic.

    Means over all pairs of models, a model with itself included (the V-statistic), so it is never negative
    and 0 for equal samples; its root is scipy's `energy_distance`. Raises `InputError`.
    Source: Szekely and Rizzo (2013), Journal of Statistical Planning and Inference 143, equation 6.1.
    """
    u, r = models_by_examples({"unlearned": unlearned, "retrained": retrained})
    pooled = np.concatenate([u, r])
    sign = np.repeat([1 / len(u), -1 / len(r)], [len(u), len(r)])
    order = np.argsort(pooled, axis=0, kind="stable")
    difference = np.cumsum(sign[order], axis=0)[:-1]
    # The integral of 2 (F_U - F_R)^2, which equals the means of pairs (Szekely 2003).
    result: Floats = 2 * np.sum(
        difference**2 * np.diff(np.take_along_axis(pooled, order, axis=0), axis=0), axis=0
    )
    return result


def _counts(side: Floats, edges: Floats) -> Floats:
    """How many models lie from each edge up to the next, itself not included: `[bins, examples]`."""
    from_edge_on = np.stack([np.count_nonzero(side >= edge, axis=0) for edge in edges])
    counts: Floats = -np.diff(from_edge_on, axis=0).astype(np.float64)
    return counts
