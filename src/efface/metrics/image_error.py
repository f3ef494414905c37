"""Errors and similarities of a restored image against the true one: one number per image.

Images are floating-point RGB tensors [B, 3, H, W] in [0, 1]; the region that was hidden is a boolean
tensor [B, 1, H, W], true where the model had to fill in. All results are float32 or wider [B] and
finite. All functions raise `MetricInputError` for shapes, types or values outside of this. Importing this module does
not import torch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from efface.metrics.base import Better, ImageMetric, Need, Restored, Yardstick
from efface.metrics.inputs import MetricInputError, check_pair

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PSNR_CEILING = 100.0
SSIM_RADIUS = 5
C1, C2 = 0.01**2, 0.03**2


class HoleMse(ImageMetric):
    """Mean squared error of the restored pixels: those of a hole, or all where nothing is hidden."""

    name: ClassVar[str] = "hole_mse"
    short: ClassVar[str] = "error"
    title: ClassVar[str] = "Mean squared error of the restored pixels"
    label: ClassVar[str] = "error"
    phrase: ClassVar[str] = "error of the restored pixels"
    summary: ClassVar[str] = "How far the restored pixels are from the true ones."
    unit: ClassVar[str] = "squared intensity, 0 to 1"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better | None] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "region")
    ratio: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    yardstick: ClassVar[Yardstick | None] = Yardstick(as_ratio=True)
    decides: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        return hole_mse(restored.pictures, restored.truth, restored.region)


class MeanHoleMse(ImageMetric):
    """Error of the mean of many answers."""

    name: ClassVar[str] = "mean_hole_mse"
    short: ClassVar[str] = "mean-error"
    title: ClassVar[str] = "Mean squared error of the mean of many answers"
    label: ClassVar[str] = "mean answer's error"
    phrase: ClassVar[str] = "error of the mean answer"
    summary: ClassVar[str] = (
        "How far the mean of all answers that a sampling model draws lies from the true pixels."
    )
    unit: ClassVar[str] = "squared intensity, −0.25 to 1"
    least: ClassVar[float] = -0.25
    most: ClassVar[float] = 1.0
    better: ClassVar[Better | None] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "region", "samples")
    ratio: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        return mean_hole_mse(_samples(restored), restored.truth, restored.region)


class HoleSpread(ImageMetric):
    """How far the answers of a sampling model lie apart."""

    name: ClassVar[str] = "hole_spread"
    short: ClassVar[str] = "spread"
    title: ClassVar[str] = "Spread of the answers"
    label: ClassVar[str] = "spread of answers"
    phrase: ClassVar[str] = "spread of the answers"
    summary: ClassVar[str] = "How much the answers that a sampling model draws differ from each other."
    unit: ClassVar[str] = "squared intensity, 0 to 0.5"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 0.5
    better: ClassVar[Better | None] = None
    requires: ClassVar[tuple[Need, ...]] = ("region", "samples")
    ratio: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        return hole_spread(_samples(restored), restored.region)


class HolePsnr(ImageMetric):
    """Peak signal-to-noise ratio of the restored pixels."""

    name: ClassVar[str] = "hole_psnr"
    short: ClassVar[str] = "psnr"
    title: ClassVar[str] = "PSNR of the restored pixels"
    label: ClassVar[str] = "PSNR"
    phrase: ClassVar[str] = "PSNR of the restored pixels"
    summary: ClassVar[str] = "The error of the restored pixels on a logarithmic scale."
    unit: ClassVar[str] = "dB"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = PSNR_CEILING
    better: ClassVar[Better | None] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "region")

    def compute(self, restored: Restored) -> Tensor:
        return psnr_of(restored.of(HoleMse))


class Ssim(ImageMetric):
    """Structural similarity over the whole picture."""

    name: ClassVar[str] = "ssim"
    short: ClassVar[str] = "similarity"
    title: ClassVar[str] = "Structural similarity"
    label: ClassVar[str] = "SSIM"
    phrase: ClassVar[str] = "structural similarity"
    summary: ClassVar[str] = "Likeness of local brightness, contrast and structure over the whole picture."
    unit: ClassVar[str] = "−1 to 1"
    least: ClassVar[float] = -1.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better | None] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("truth",)
    ratio: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    yardstick: ClassVar[Yardstick | None] = Yardstick(
        caution="No error of restored pixels was measured; the verdict rests on structural similarity.",
    )
    decides: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        return ssim(restored.pictures, restored.truth)


class FeatureCosine(ImageMetric):
    """Cosine of the feature vectors of a picture and its truth."""

    name: ClassVar[str] = "feature_cosine"
    short: ClassVar[str] = "cosine"
    title: ClassVar[str] = "Cosine of feature vectors"
    label: ClassVar[str] = "feature cosine"
    phrase: ClassVar[str] = "cosine of the feature vectors"
    summary: ClassVar[str] = (
        "Likeness of content as a feature extractor sees it; with CLIP, the papers' CLIP distance."
    )
    unit: ClassVar[str] = "−1 to 1"
    least: ClassVar[float] = -1.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better | None] = "up"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "features")
    ratio: ClassVar[bool] = True
    by_similarity: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        return feature_cosine(restored.similarity, restored.true_similarity)


def hole_mse(restored: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean squared error over the hidden pixels and the three channels of each image, 0 to 1.

    An image whose region is empty has no error there; it is refused by its place in the batch.
    """
    check_pair(restored, truth)
    _check_region(region, restored)
    hidden = region.flatten(1).sum(dim=1)
    empty = (hidden == 0).nonzero().flatten().tolist()
    if empty:
        raise MetricInputError(
            f"the region is empty for image {', '.join(map(str, empty[:10]))} of the batch; an error in "
            "the hidden region exists only where something was hidden"
        )
    squared = (_wide(restored) - _wide(truth)).square() * region
    return squared.flatten(1).sum(dim=1) / (hidden * restored.shape[1])


def hole_spread(samples: Tensor, region: Tensor) -> Tensor:
    """Variance between the answers `samples` `[K, B, 3, H, W]`, K at least 2, over the hidden region: `[B]`, 0 to 0.5.

    The mean over hidden pixels and channels of the unbiased variance, that with divisor K - 1.
    """
    import torch

    if len(samples) < 2:
        raise MetricInputError(f"a spread needs two answers or more to each view, got {len(samples)}")
    mean = _wide(samples).mean(dim=0)
    apart = torch.stack([hole_mse(answer, mean, region) for answer in samples])
    return apart.sum(dim=0) / (len(samples) - 1)


def mean_hole_mse(samples: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Squared error of the mean of endlessly many answers, estimated from K at least 2, `samples` `[K, B, 3, H, W]`: `[B]`.

    The mean of K answers errs by a K-th of their spread more, which is taken off. So the estimate has no bias, and that of
    a single picture may lie below 0, down to -0.25. With `hole_spread` it sums to the mean of `hole_mse` over the answers.
    """
    return hole_mse(_wide(samples).mean(dim=0), truth, region) - hole_spread(samples, region) / len(samples)


def hole_psnr(restored: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in the hidden region, in dB: 10 log10(1 / hole_mse).

    At most 100 dB: an exact copy would be infinite, which no mean and no JSON file can hold.
    """
    return psnr_of(hole_mse(restored, truth, region))


def psnr_of(errors: Tensor) -> Tensor:
    """`hole_psnr` of mean squared errors that are known already, in dB."""
    floor = 10 ** (-PSNR_CEILING / 10)
    return -10 * errors.clamp(min=floor).log10()


def ssim(restored: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity over the full picture, known pixels included, -1 to 1.

    Wang et al. (2004), "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 13: Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, mean over pixels
    and channels; the picture is reflected at its border. A picture with a side below 11 pixels gets the
    largest odd window that fits, with sigma in proportion; such values are comparable only with each
    other. A side below 3 pixels is refused.
    """
    import torch

    check_pair(restored, truth)
    side = min(restored.shape[-2:])
    radius = min(SSIM_RADIUS, (side - 1) // 2)
    if radius < 1:
        raise MetricInputError(
            f"ssim needs pictures of at least 3 x 3 pixels, got {list(restored.shape[-2:])}"
        )
    x, y = _wide(restored), _wide(truth)
    places = _differing(x, y)
    if places is None:
        return torch.ones(len(x), dtype=x.dtype, device=x.device)
    planes = torch.stack([x, y, x.square() + y.square(), x * y])
    mean_x, mean_y, mean_squares, mean_products = _windowed(planes, places, radius)
    squares, products = mean_x.square() + mean_y.square(), mean_x * mean_y
    # Rounding makes vanishing variances slightly negative.
    likeness = (2 * products + C1) * (2 * (mean_products - products) + C2)
    likeness /= (squares + C1) * ((mean_squares - squares).clamp(min=0) + C2)
    # A window in which no pixel differs has likeness 1.
    mean: Tensor = 1 + (likeness - 1).flatten(1).sum(dim=1) / x[0].numel()
    return mean


def feature_cosine(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Cosine of the angle between the feature vectors [B, D] of each image and its truth, -1 to 1.

    A vector of length 0 has no direction: the cosine is 0 against anything.
    """
    from torch.nn import functional

    if features_a.shape != features_b.shape or features_a.ndim != 2:
        raise MetricInputError(
            "feature vectors must be [images, dimensions] of the same images, got "
            f"{list(features_a.shape)} and {list(features_b.shape)}"
        )
    a, b = _wide(features_a), _wide(features_b)
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise MetricInputError("feature vectors hold values that are not finite")
    return functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)


def _differing(x: Tensor, y: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last row, first and last column in which any image of the batch differs; None if none does."""
    somewhere = (x != y).any(dim=0).any(dim=0)
    rows, columns = (somewhere.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    return ((rows[0], rows[-1]), (columns[0], columns[-1])) if rows else None


def _windowed(images: Tensor, places: tuple[tuple[int, int], tuple[int, int]], radius: int) -> Tensor:
    """Means of `images` [..., H, W] in the Gaussian window around each pixel whose window reaches into `places`.

    Reflected at the border; rows and columns change places. As products with two band matrices: a convolution of
    single channels takes ten times as long.
    """
    for side, (first, last) in zip(images.shape[-2:], places, strict=True):
        # one axis after the other is brought to the end and averaged over
        made = slice(max(first - radius, 0), min(last + radius + 1, side))
        read = slice(max(made.start - radius, 0), min(made.stop + radius, side))
        window = _window(side, radius, images.dtype, images.device)[made, read]
        images = images.transpose(-1, -2)[..., read] @ window.T
    return images


@lru_cache(maxsize=8)
def _window(side: int, radius: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[side, side]: row i holds the weights of all pixels of a line for the window around pixel i."""
    import torch

    reach = np.arange(-radius, radius + 1)
    weights = np.exp(-((reach / (1.5 * radius / SSIM_RADIUS)) ** 2) / 2)
    weights /= weights.sum()
    centres = np.arange(side)[:, None]
    places = np.abs(centres + reach)
    places = np.minimum(places, 2 * (side - 1) - places)
    matrix = np.zeros((side, side))
    np.add.at(
        matrix, (np.broadcast_to(centres, places.shape), places), np.broadcast_to(weights, places.shape)
    )
    # kept beyond this call, which may stand in inference mode
    with torch.inference_mode(False):
        return torch.tensor(matrix, dtype=dtype, device=device)


def _samples(restored: Restored) -> Tensor:
    if restored.samples is None:
        raise MetricInputError(
            "there is one answer to each view: nothing can be said of their mean and spread"
        )
    return restored.samples


def _check_region(region: Tensor, images: Tensor) -> None:
    import torch

    expected = [images.shape[0], 1, *images.shape[2:]]
    if list(region.shape) != expected or region.dtype != torch.bool:
        raise MetricInputError(
            f"the region must be boolean {expected}, got {region.dtype} {list(region.shape)}"
        )


def _wide(values: Tensor) -> Tensor:
    """At least float32: sums over pixels in half precision lose the error that is measured."""
    import torch

    return values.to(torch.promote_types(values.dtype, torch.float32))
