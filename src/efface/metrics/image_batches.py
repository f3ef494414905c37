"""What every metric on pictures asks of them, and how they are resized. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.metrics.refusal import MetricInputError

if TYPE_CHECKING:
    from torch import Tensor

# Room for rounding in a model's last layer; anything further out was not clipped.
RANGE_TOLERANCE = 1e-3


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
