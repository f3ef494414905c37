"""Fréchet distance between two sets of feature vectors, each taken as one Gaussian.

    d^2 = |mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2))

Dowson and Landau (1982), "The Fréchet distance between multivariate normal distributions", Journal
of Multivariate Analysis 12; used on Inception features by Heusel et al. (2017), arXiv:1706.08500.
What is published under the name FID is this d^2, and so is what is returned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.metrics.base import Better, Measured, Need, RestoredSet, SetMetric
from efface.metrics.inputs import Features, MetricInputError, feature_pair

IMAGES_PER_DIMENSION = 2


class FrechetDistance(SetMetric):
    """Fréchet distance of the restored pictures from the true ones."""

    name: ClassVar[str] = "frechet_distance"
    short: ClassVar[str] = "frechet"
    title: ClassVar[str] = "Fréchet distance"
    label: ClassVar[str] = "Fréchet distance"
    phrase: ClassVar[str] = "Fréchet distance"
    summary: ClassVar[str] = "Distance between two sets of images, each taken as one Gaussian of features."
    unit: ClassVar[str] = "squared feature units"
    least: ClassVar[float] = 0.0
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "features")
    has_interval: ClassVar[bool] = False
    published: ClassVar[str | None] = "FID"

    def distance(self, restored: RestoredSet) -> Measured:
        refused = frechet_refusal(restored.images, restored.features.shape[1])
        if refused:
            return Measured(None, None, refused)
        value = frechet_distance(restored.features, restored.truth)
        return Measured(value, None, "a point value; the kernel distance carries the interval")


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Squared Fréchet distance of `a` [N, D] and `b` [M, D], in squared feature units, at least 0.

    The covariances divide by N - 1. The estimate is biased upwards, the more so the fewer images:
    compare only distances taken with the same N. Raises `MetricInputError` where `frechet_refusal`
    has something to say, and for arrays that do not fit or are not finite.
    """
    a, b = feature_pair(a, b)
    return frechet_of_moments(FeatureMoments.of(a), FeatureMoments.of(b))


def frechet_refusal(n: int, dimension: int) -> str | None:
    """Why `n` images do not carry a Fréchet distance in `dimension` dimensions; None if they do.

    With N < 2 D the sample covariance is (nearly) singular and the distance is mostly bias.
    """
    needed = IMAGES_PER_DIMENSION * dimension
    if n >= needed:
        return None
    return (
        f"the Fréchet distance on {dimension} feature dimensions needs at least {needed} images "
        f"on each side, got {n}; use more images, an extractor with fewer dimensions, or kernel_distance"
    )


@dataclass(frozen=True)
class FeatureMoments:
    """The number of images, the mean [D] and the covariance [D, D] (divisor N - 1) of a set."""

    count: int
    mean: Features
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, features: Features) -> FeatureMoments:
        """Moments of `features` [N, D], N at least 2."""
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred / max(len(features) - 1, 1))


def frechet_of_moments(a: FeatureMoments, b: FeatureMoments) -> float:
    """As `frechet_distance`, from moments that were gathered elsewhere."""
    dimension = len(a.mean)
    refusals = {frechet_refusal(side.count, dimension) for side in (a, b)} - {None}
    if refusals:
        raise MetricInputError(*sorted(str(refusal) for refusal in refusals))
    shift = a.mean - b.mean
    distance = float(shift @ shift) + float(np.trace(a.covariance)) + float(np.trace(b.covariance))
    return max(distance - 2 * _trace_of_root(a.covariance, b.covariance), 0.0)


def _trace_of_root(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """tr((A B)^(1/2)) of positive semi-definite A and B.

    A B has the eigenvalues of R_a R_b (R_a R_b)^T, with R the symmetric roots, so the trace is the sum
    of the singular values of R_a R_b. Unlike the root of the unsymmetric product A B, it needs no complex
    numbers and no offset where features are constant.
    """
    return float(np.linalg.svd(_symmetric_root(a) @ _symmetric_root(b), compute_uv=False).sum())


def _symmetric_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    # Rounding makes vanishing eigenvalues slightly negative.
    root: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
