"""What metrics ask of pictures and of sets of features, the error that says so, and how pictures are resized. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Features = NDArray[np.float64]
# Room for rounding in a model's last layer; anything further out was not clipped.
RANGE_TOLERANCE = 1e-3


class MetricInputError(InputError, ValueError):
    """A metric was asked for a number that its input cannot support; the message says what to do.

    It is an `InputError`, so that the command line prints it without a traceback, and a
    `ValueError`, as callers of a numeric function expect.
    """


def check_images(name: str, images: Tensor) -> None:
    """Refuse anything but floating-point [B, 3, H, W] with finite values in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise MetricInputError(f"{name} must be [images, 3, height, width], got {list(images.shape)}")
    if not images.is_floating_point():
        raise MetricInputError(
            f"{name} must be floating-point in 0..1, got {images.dtype}: divide bytes by 255"
        )
    low, high = float(images.min()), float(images.max())
    # Written so that NaN fails as well.
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise MetricInputError(
            f"{name} must lie in 0..1, got values from {low:.4g} to {high:.4g}: clip them first"
        )


def check_pair(restored: Tensor, truth: Tensor) -> None:
    """Refuse two batches that are not both images of the same shape."""
    check_images("restored", restored)
    check_images("truth", truth)
    if restored.shape != truth.shape:
        raise MetricInputError(
            f"restored and truth must be the same images, got {list(restored.shape)} and {list(truth.shape)}"
        )


def resized(images: Tensor, height: int, width: int, mode: str) -> Tensor:
    """The whole picture [B, 3, height, width] in [0, 1], antialiased where it shrinks.

    `mode` is "bilinear" or "bicubic". Nothing is cropped, because a hole may lie at the border; the
    aspect ratio changes where the picture's differs.
    """
    if images.shape[-2:] == (height, width):
        return images
    from torch.nn import functional

    smooth = functional.interpolate(
        images, size=(height, width), mode=mode, antialias=True, align_corners=False
    )
    return smooth.clamp(0, 1)


def feature_pair(a: ArrayLike, b: ArrayLike) -> tuple[Features, Features]:
    """`a` [N, D] and `b` [M, D] as float64; `MetricInputError` names every fault of either."""
    pair = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    faults = [fault for side, name in zip(pair, "ab", strict=True) for fault in _faults_of(side, name)]
    if not faults and pair[0].shape[1] != pair[1].shape[1]:
        faults.append(f"the feature sets have {pair[0].shape[1]} and {pair[1].shape[1]} dimensions")
    if faults:
        raise MetricInputError(*faults)
    return pair


def _faults_of(features: Features, name: str) -> list[str]:
    if features.ndim != 2 or 0 in features.shape:
        return [f"feature set {name} must be [images, dimensions] and not empty, got {features.shape}"]
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    return [f"feature set {name} has {bad} of {len(features)} images with values not finite"] if bad else []
