"""Errors and similarities of a restored image against the true one: one number per image.

Images are floating-point RGB tensors [B, 3, H, W] in [0, 1]; the region that was hidden is a boolean
tensor [B, 1, H, W], true where the model had to fill in. All results are float32 or wider [B] and
finite. All functions raise `MetricInputError` for shapes, types or values outside of this.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from efface.metrics.image_batches import check_pair
from efface.metrics.refusal import MetricInputError

PSNR_CEILING = 100.0
SSIM_RADIUS = 5


def hole_mse(restored: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean squared error over the hidden pixels and the three channels of each image, 0 to 1.

    An image whose region is empty has no error there; it is refused by its place in the batch.
    """
    check_pair(restored, truth)
    _check_region(region, restored)
    hidden = region.flatten(1).sum(dim=1)
    empty = torch.nonzero(hidden == 0).flatten().tolist()
    if empty:
        raise MetricInputError(
            f"the region is empty for image {', '.join(map(str, empty[:10]))} of the batch; an error in "
            "the hidden region exists only where something was hidden"
        )
    squared = (_wide(restored) - _wide(truth)).square() * region
    return squared.flatten(1).sum(dim=1) / (hidden * restored.shape[1])


def hole_psnr(restored: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in the hidden region, in dB: 10 log10(1 / hole_mse).

    At most 100 dB: an exact copy would be infinite, which no mean and no JSON file can hold.
    """
    floor = 10 ** (-PSNR_CEILING / 10)
    return -10 * torch.log10(hole_mse(restored, truth, region).clamp(min=floor))


def ssim(restored: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity over the full picture, known pixels included, -1 to 1.

    Wang et al. (2004), "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 13: Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, mean over pixels
    and channels; the picture is reflected at its border. A picture with a side below 11 pixels gets the
    largest odd window that fits, with sigma in proportion; such values are comparable only with each
    other. A side below 3 pixels is refused.
    """
    check_pair(restored, truth)
    side = min(restored.shape[-2:])
    radius = min(SSIM_RADIUS, (side - 1) // 2)
    if radius < 1:
        raise MetricInputError(
            f"ssim needs pictures of at least 3 x 3 pixels, got {list(restored.shape[-2:])}"
        )
    result = structural_similarity_index_measure(
        _wide(restored), _wide(truth), sigma=1.5 * radius / SSIM_RADIUS, reduction="none", data_range=1.0
    )
    assert isinstance(result, Tensor)
    return result.reshape(len(restored))


def feature_cosine(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Cosine of the angle between the feature vectors [B, D] of each image and its truth, -1 to 1.

    A vector of length 0 has no direction: the cosine is 0 against anything.
    """
    if features_a.shape != features_b.shape or features_a.ndim != 2:
        raise MetricInputError(
            "feature vectors must be [images, dimensions] of the same images, got "
            f"{list(features_a.shape)} and {list(features_b.shape)}"
        )
    a, b = _wide(features_a), _wide(features_b)
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise MetricInputError("feature vectors hold values that are not finite")
    return functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)


def _check_region(region: Tensor, images: Tensor) -> None:
    expected = [images.shape[0], 1, *images.shape[2:]]
    if list(region.shape) != expected or region.dtype != torch.bool:
        raise MetricInputError(
            f"the region must be boolean {expected}, got {region.dtype} {list(region.shape)}"
        )


def _wide(values: Tensor) -> Tensor:
    """At least float32: sums over pixels in half precision lose the error that is measured."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
