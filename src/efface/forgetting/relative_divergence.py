"""Is the unlearned model farther from the retrained ones than another retraining is? Rows as in `relative`.

Two retrainings differ as well, by their seeds. Without that yardstick every difference would pass for a failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from scipy.stats import beta

from efface.errors import Faults
from efface.forgetting.arrays import Floats
from efface.forgetting.declared import statistic
from efface.forgetting.relative import VECTORS, samples
from efface.randomness import numpy_draws

Divergence = Literal["hockey-stick", "chi-square"]
QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class RelativeDivergence:
    """Whether the unlearned sample is farther from the retrained one than another retraining is.

    `p_value`: small where it is farther. `difference`: its divergence less the other retraining's, mean over kernels and
    regularisations; `unlearned` and `yardstick` are the two. `permutations`: how often rows were dealt.
    """

    p_value: float
    difference: float
    unlearned: float
    yardstick: float
    permutations: int

    @property
    def ends(self) -> tuple[float, float]:
        """Interval of the p value over the draws of its deals (Clopper and Pearson 1934, 95 %)."""
        reached, deals = round(self.p_value * (self.permutations + 1)), self.permutations + 1
        low = beta.ppf(0.025, reached, deals - reached + 1)
        return float(low), float(beta.ppf(0.975, reached + 1, deals - reached)) if reached < deals else 1.0


@statistic(
    "Relative divergence test",
    direction="down",
    range="difference of divergences, with its p value",
    reads=VECTORS,
    source="arXiv:2601.19755",
    summary="Whether unlearned models are farther from retrained ones than another retraining is.",
)
def relative_divergence(
    unlearned: ArrayLike,
    retrained: ArrayLike,
    yardstick: ArrayLike,
    *,
    divergence: Divergence = "hockey-stick",
    order: float = 1.0,
    paired: bool = False,
    bandwidths: int = 5,
    regularisations: Sequence[float] = (0.01, 0.1, 1.0),
    permutations: int = 999,
    seed: int = 0,
) -> RelativeDivergence:
    """Test D(unlearned, retrained) <= D(yardstick, retrained), yardstick being another admissible retraining.

    All `[rows, numbers]`. D is read off a regularised kernel estimate of the ratio r = dU/dR of two laws: with Gaussian
    kernel matrices K over the rows, m of them retrained, `1 + (1 + l) / l * w`, where w = (I - K_R (K_RR + m l)^-1) applied
    to the difference of both mean embeddings; l from large to small goes from the witness of the MMD to the ratio itself.
    The hockey-stick divergence sup_A U(A) - order R(A) takes the rows where r > order, the larger of both directions;
    chi-square is E_U[g] - E_R[g + g^2 / 4] with g = 2 (r - 1). paired: row i of all three belongs together.

    p value: unlearned and yardstick rows are dealt anew to their two sides (exchanged within their pair, if paired), and
    the smallest p value of all bandwidths and regularisations is compared with those of the deals. So it is exact where
    unlearned models are one more retraining. Where both are as far from the retrained ones but not alike, hockey-stick
    rejects a little too often and chi-square far too often (docs/forgetting/statistics.md).

    Ratio, variational forms, kernels (equal steps from half the 5 % to twice the 95 % quantile of distances) and
    regularisations are those of the released code of Ribero, Schrab and Gretton (AISTATS 2026), arXiv:2601.19755. That
    code holds two-sample tests only. Inferred from the abstract: that the statistic is the difference of two
    divergences, and that it is calibrated by dealing. Ours: one ratio, based on the retrained rows that both divergences
    share, serves both directions; and it is halved where the code adds 1 to twice the excess (the same at order 1).

    Raises `InputError` for arrays that do not fit, fewer than 5 rows of a side, and settings out of range.
    """
    with Faults("these samples cannot be compared") as faults:
        u, r, y = samples(
            {"unlearned": unlearned, "retrained": retrained, "yardstick": yardstick}, faults, paired
        )
        if len(u) != len(y):
            faults.add(
                f"unlearned has {len(u)} rows and yardstick {len(y)}: more rows look nearer; give equally many"
            )
        if divergence not in get_args(Divergence):
            faults.add(f"divergence: one of {', '.join(get_args(Divergence))}, got {divergence}")
        for name, value, least in (("bandwidths", bandwidths, 1), ("permutations", permutations, 19)):
            if value < least:
                faults.add(f"{name}: at least {least}, got {value}")
        if order < 1:
            faults.add(f"order: at least 1, got {order:g}")
        if not regularisations or not all(0 < value < math.inf for value in regularisations):
            faults.add("regularisations: one or more numbers above 0")
    count = len(u)
    distances = cdist(*[np.concatenate([u, y, r])] * 2)
    deals = _deals(count, permutations, paired, seed)
    figures = np.array([
        _divergences(np.exp(-((distances / width) ** 2) / 2), deals, count, value, divergence, order)
        for width in _widths(distances, bandwidths)
        for value in regularisations
    ])  # fmt: skip
    mine, other = figures[:, 0], figures[:, 1]
    differences = mine - other
    own = (differences[:, None, :] >= differences[:, :, None] - 1e-12).mean(axis=2).min(axis=0)
    return RelativeDivergence(
        float((own <= own[0]).mean()),
        float(differences[:, 0].mean()),
        float(mine[:, 0].mean()),
        float(other[:, 0].mean()),
        permutations,
    )


def like_another_retraining(
    unlearned: ArrayLike, retrained: ArrayLike, yardstick: ArrayLike, *, seed: int = 0
) -> RelativeDivergence:
    """`relative_divergence` of one model each, `[photos, numbers]` of the same photos: small p is farther than `yardstick`.

    The mean of the three is taken off each row first, since photos differ more than models do on one photo. Exact where
    unlearned model and yardstick can be exchanged on each photo. Raises `InputError` for arrays that do not fit.
    """
    with Faults("these samples cannot be compared") as faults:
        given = {"unlearned": unlearned, "retrained": retrained, "yardstick": yardstick}
        sides = samples(given, faults, equal=True)
    middle = np.mean(sides, axis=0)
    u, r, y = (side - middle for side in sides)
    return relative_divergence(u, r, y, paired=True, seed=seed)


def _widths(distances: Floats, count: int) -> Floats:
    """Bandwidths in equal steps, from half the small distances between rows to twice the large ones."""
    apart = distances[np.triu_indices(len(distances), 1)]
    apart = apart[apart > 0]
    if not len(apart):
        return np.ones(1)
    if count == 1:
        return np.array([np.median(apart)])
    low, high = np.quantile(apart, QUANTILES)
    widths: Floats = np.linspace(low / 2, 2 * high, count)
    return widths


def _deals(count: int, permutations: int, paired: bool, seed: int) -> Floats:
    """Which of `2 count` rows are on the unlearned side, 1 or 0, `[2 count, 1 + permutations]`; first as given."""
    draws = numpy_draws(seed, "relative divergence", count, permutations)
    if paired:
        swapped = draws.random((count, permutations)) < 0.5
        dealt = np.concatenate([~swapped, swapped])
    else:
        dealt = draws.random((2 * count, permutations)).argsort(axis=0) < count
    given = np.repeat([True, False], count)[:, None]
    return np.concatenate([given, dealt], axis=1).astype(np.float64)


def _divergences(
    kernel: Floats, deals: Floats, count: int, regularisation: float, divergence: Divergence, order: float
) -> tuple[Floats, Floats]:
    """The divergence of either dealt side from the retrained rows, `[deals]` each. kernel: of all rows, retrained last."""
    dealt = slice(0, 2 * count)
    base = kernel[2 * count :, 2 * count :]
    retrained = len(base)
    inverse = np.linalg.inv(base + retrained * regularisation * np.eye(retrained))
    # one row of `reach` for every place where the ratio is asked for, one column for every row of an embedding
    reach = kernel - kernel[:, 2 * count :] @ inverse @ kernel[2 * count :]
    scale = (1 + regularisation) / regularisation
    mine_and_other = []
    for side in (deals, 1 - deals):
        ratio = 1 + scale * (
            reach[:, dealt] @ side / count - reach[:, 2 * count :].mean(axis=1, keepdims=True)
        )
        inside, outside = ratio[dealt], ratio[2 * count :]

        def mean_inside(values: Floats, side: Floats = side) -> Floats:
            return np.asarray((values * side).sum(axis=0) / count)

        if divergence == "hockey-stick":
            above = mean_inside(inside > order) - order * (outside > order).mean(axis=0)
            below = (outside < 1 / order).mean(axis=0) - order * mean_inside(inside < 1 / order)
            mine_and_other.append(np.maximum(above, below))
        else:
            gain = 2 * (outside - 1)
            mine_and_other.append(mean_inside(2 * (inside - 1)) - (gain + gain**2 / 4).mean(axis=0))
    return mine_and_other[0], mine_and_other[1]
