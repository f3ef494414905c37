"""What the distances between two sets of feature vectors ask of their input."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.metrics.refusal import MetricInputError

Features = NDArray[np.float64]


def feature_pair(a: ArrayLike, b: ArrayLike) -> tuple[Features, Features]:
    """`a` [N, D] and `b` [M, D] as float64; `MetricInputError` names every fault of either."""
    pair = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    faults = [fault for side, name in zip(pair, "ab", strict=True) for fault in _faults(side, name)]
    if not faults and pair[0].shape[1] != pair[1].shape[1]:
        faults.append(f"the feature sets have {pair[0].shape[1]} and {pair[1].shape[1]} dimensions")
    if faults:
        raise MetricInputError(*faults)
    return pair


def _faults(features: Features, name: str) -> list[str]:
    if features.ndim != 2 or 0 in features.shape:
        return [f"feature set {name} must be [images, dimensions] and not empty, got {features.shape}"]
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    return [f"feature set {name} has {bad} of {len(features)} images with values not finite"] if bad else []
