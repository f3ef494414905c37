"""Is the unlearned model closer to retrained ones or to the original? A test between three samples of vectors.

Rows are samples that are independent of each other: a photo's errors under one model each, or a model's confidences for
all forget examples. Several crops of one photo are one row: put them beside each other, or take their mean. It is no
verdict: a model just past half way passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from scipy.stats import norm
from scipy.stats import t as student

from efface.errors import Faults, InputError
from efface.forgetting.arrays import Floats, numbers
from efface.forgetting.declared import statistic
from efface.wording import counted

FEWEST = 5
"""Rows of a side below which nothing is tested."""
VECTORS = "vectors [samples, numbers] of three models or sets of models"


@dataclass(frozen=True)
class RelativeMMD:
    """Whether `y` is farther from `x` than `z` is.

    `difference`: `to_y` less `to_z`, squared maximum mean discrepancies of `x` from either (unbiased, so also below 0),
    with its interval `low` to `high`. `p_value`: one-sided, small where `y` is farther. `statistic`: the difference over
    its standard deviation; infinite where that is 0. `bandwidth`: of the Gaussian kernel, in the unit of the vectors.
    """

    p_value: float
    statistic: float
    difference: float
    low: float
    high: float
    to_y: float
    to_z: float
    bandwidth: float


@statistic(
    "Relative MMD test",
    direction="up",
    range="difference of squared distances, -2 to 2, with its interval and p value",
    reads=VECTORS,
    source="arXiv:1511.04581",
    summary="Whether a sample is nearer to one of two others, such as the retrained models than the originals.",
)
def relative_mmd(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    *,
    paired: bool = False,
    bandwidth: float | None = None,
    confidence: float = 0.95,
    published: bool = False,
) -> RelativeMMD:
    """Test that `y` is no farther from `x` than `z` is, by the maximum mean discrepancy with a Gaussian kernel.

    `x`, `y`, `z`: vectors `[rows, numbers]`. With unlearned, original and retrained vectors in this order, a small p value
    says that the unlearned model is closer to retraining. paired: row i of all three belongs together (one photo, one
    seed); rows of one number are then never compared with each other. bandwidth: None takes the mean of
    sqrt(median squared distance / 2) between `x` and `y` and between `x` and `z`.

    The deviation is that of the delete-one jackknife, with Student's t. published: as the authors' code has it, the
    first-order term 4(m-2)/(m(m-1)) zeta1 of three samples of one size, with the normal law. At few rows that term is too
    small, or even negative (`InputError`); see docs/forgetting/statistics.md for the false alarms of both.

    Raises `InputError` for arrays that do not fit, fewer than 5 rows of a side, or a bandwidth that is not above 0.
    Source: Bounliphone et al. (ICLR 2016), arXiv:1511.04581, and the code of an author.
    """
    with Faults("these samples cannot be compared") as faults:
        sides = samples({"x": x, "y": y, "z": z}, faults, equal=paired or published)
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            faults.add(f"bandwidth: a number above 0, got {bandwidth:g}")
        if not 0 < confidence < 1:
            faults.add(f"confidence: between 0 and 1, for example 0.95, got {confidence:g}")
        if paired and published:
            faults.add("published: the published test has no pairs; leave out `paired`")
    width = bandwidth or (_median_width(sides[0], sides[1]) + _median_width(sides[0], sides[2])) / 2
    xx, yy, zz, xy, xz = (
        np.exp(-cdist(sides[a], sides[b], "sqeuclidean") / (2 * width**2))
        for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2))
    )
    for within in (xx, yy, zz, *((xy, xz) if paired else ())):
        np.fill_diagonal(within, 0.0)
    within_x, within_y, within_z = (k.sum() / (len(k) * (len(k) - 1)) for k in (xx, yy, zz))
    between_y, between_z = (k.sum() / (len(k) * (k.shape[1] - paired)) for k in (xy, xz))
    difference = float(within_y - 2 * between_y - within_z + 2 * between_z)
    if published:
        deviation, freedom = math.sqrt(_published_variance(yy, zz, xy, xz)), math.inf
    else:
        deviation = (_paired_deviation if paired else _deviation)(yy, zz, xy, xz)
        freedom = min(map(len, sides)) - 1
    law = norm if published else student(freedom)
    # rounding alone makes no distance
    at_rest = abs(difference) < 1e-12
    value = 0.0 if at_rest else difference / deviation if deviation else math.copysign(math.inf, difference)
    reach = float(law.isf((1 - confidence) / 2)) * deviation
    return RelativeMMD(
        float(law.sf(value)),
        value,
        difference,
        difference - reach,
        difference + reach,
        float(within_x + within_y - 2 * between_y),
        float(within_x + within_z - 2 * between_z),
        float(width),
    )


def closer_to_retrained(
    unlearned: ArrayLike, original: ArrayLike, retrained: ArrayLike, *, confidence: float = 0.95
) -> RelativeMMD:
    """`relative_mmd` of one model each, `[photos, numbers]` of the same photos: small p is closer to the retrained one.

    Photos differ more from each other than models do on one photo. So the mean of original and retrained is taken off each
    row first: these two are each other's mirror image afterwards, and neither is nearer by it. The bandwidth is that
    between these two alone, so that values of several models can be compared: their own have one size and opposite signs.
    A model far beyond both has a value near 0. Raises `InputError` for arrays that do not fit.
    """
    with Faults("these samples cannot be compared") as faults:
        given = {"unlearned": unlearned, "original": original, "retrained": retrained}
        u, o, r = samples(given, faults, equal=True)
    middle = (o + r) / 2
    width = _median_width(o - middle, r - middle)
    return relative_mmd(
        u - middle, o - middle, r - middle, paired=True, bandwidth=width, confidence=confidence
    )


def samples(given: dict[str, ArrayLike], faults: Faults, equal: bool) -> list[Floats]:
    """The named samples as finite float64 `[rows, numbers]`; what is wrong goes to `faults`."""
    made = {name: numbers(values, name, faults, ndim=2) for name, values in given.items()}
    made = {name: side for name, side in made.items() if side.ndim == 2 and side.size}
    for name, side in made.items():
        if len(side) < FEWEST:
            faults.add(f"{name}: {counted(len(side), 'row')}, but at least {FEWEST} are needed")
    for axis, of in ((0, "rows"), (1, "numbers a row"))[0 if equal else 1 :]:
        if len({side.shape[axis] for side in made.values()}) > 1:
            counts = "; ".join(f"{name} has {side.shape[axis]} {of}" for name, side in made.items())
            faults.add(f"{counts}: they must be equal")
    return [made.get(name, np.zeros((1, 1))) for name in given]


def _median_width(a: Floats, b: Floats) -> float:
    squared = cdist(a, b, "sqeuclidean")
    apart = squared[squared > 0]
    return float(np.sqrt(np.median(apart) / 2)) if len(apart) else 1.0


def _deviation(yy: Floats, zz: Floats, xy: Floats, xz: Floats) -> float:
    """Standard deviation of the difference by leaving out each row of each sample (Arvesen 1969)."""
    m, n, r = len(xy), len(yy), len(zz)
    without_x = -2 * (xy.sum() - xy.sum(1)) / ((m - 1) * n) + 2 * (xz.sum() - xz.sum(1)) / ((m - 1) * r)
    without_y, without_z = (
        (k.sum() - 2 * k.sum(1)) / ((len(k) - 1) * (len(k) - 2))
        - 2 * (c.sum() - c.sum(0)) / (m * (len(k) - 1))
        for k, c in ((yy, xy), (zz, xz))
    )
    return math.sqrt(sum(map(_jackknife, (without_x, without_y, without_z))))


def _paired_deviation(yy: Floats, zz: Floats, xy: Floats, xz: Floats) -> float:
    """The same where row i of all samples is left out together. Kernels of a row with its own are 0."""
    pairs = yy - xy - xy.T - zz + xz + xz.T
    return math.sqrt(_jackknife((pairs.sum() - 2 * pairs.sum(1)) / ((len(yy) - 1) * (len(yy) - 2))))


def _jackknife(values: Floats) -> float:
    return float((len(values) - 1) * values.var())


def _published_variance(yy: Floats, zz: Floats, xy: Floats, xz: Floats) -> float:
    """4(m-2)/(m(m-1)) zeta1 of the authors' code; raises `InputError` where that is not above 0."""
    m = len(xy)
    uyy, uzz = (k.sum() / (m * (m - 1)) for k in (yy, zz))
    uxy, uxz = xy.mean(), xz.mean()

    def covariance(a: Floats, b: Floats, means: float) -> float:
        return float((a.sum(axis=0) @ b.sum(axis=0)) / m**3 - means)

    zeta1 = (
        covariance(yy, yy, uyy**2) + covariance(zz, zz, uzz**2)
        + covariance(xy, xy, uxy**2) + covariance(xy.T, xy.T, uxy**2)
        + covariance(xz, xz, uxz**2) + covariance(xz.T, xz.T, uxz**2)
        - 2 * covariance(yy, xy, uyy * uxy) - 2 * covariance(zz, xz, uzz * uxz)
        - 2 * covariance(xy.T, xz.T, uxy * uxz)
    )  # fmt: skip
    if zeta1 <= 0:
        raise InputError(
            f"the published variance is {zeta1:.3g}, so the published test has no value; leave out `published`"
        )
    return 4 * (m - 2) / (m * (m - 1)) * zeta1
