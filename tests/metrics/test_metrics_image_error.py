"""Image errors against hand-worked values, scipy and scikit-image."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from efface.errors import InputError
from efface.metrics.image_error import (
    PSNR_CEILING,
    feature_cosine,
    hole_mse,
    hole_psnr,
    hole_spread,
    mean_hole_mse,
    ssim,
)


def centre(batch: int, side: int) -> Tensor:
    region = torch.zeros(batch, 1, side, side, dtype=torch.bool)
    region[..., side // 4 : -side // 4, side // 4 : -side // 4] = True
    return region


def noisy(images: Tensor, amount: float = 0.1) -> Tensor:
    draws = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images + amount * draws).clamp(0, 1)


def test_hole_errors_of_a_worked_example() -> None:
    truth = torch.zeros(2, 3, 2, 2)
    restored = truth.clone()
    restored[0, 0, 0, 0] = 0.5  # one of three channels of one of two hidden pixels
    restored[0, :, 1, 1] = 1.0  # known, so not counted
    restored[1] = 0.1
    region = torch.tensor([[[[True, True], [False, False]]], [[[True, False], [False, False]]]])
    torch.testing.assert_close(hole_mse(restored, truth, region), torch.tensor([0.25 / 6, 0.01]))
    expected = torch.tensor([10 * math.log10(24), 20.0])
    torch.testing.assert_close(hole_psnr(restored, truth, region), expected, rtol=1e-5, atol=1e-5)


def test_mean_and_spread_of_a_worked_example() -> None:
    truth = torch.full((1, 3, 2, 2), 0.5)
    region = torch.tensor([[[[True, True], [False, False]]]])
    # off by 0.1 and 0.3, 0.2 apart: the variance is 0.02, the squared error of their mean 0.04
    samples = truth + torch.tensor([0.1, 0.3]).view(2, 1, 1, 1, 1)
    samples[:, :, :, 1] = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)  # known, so not counted
    torch.testing.assert_close(hole_spread(samples, region), torch.tensor([0.02]))
    torch.testing.assert_close(mean_hole_mse(samples, truth, region), torch.tensor([0.04 - 0.02 / 2]))
    with pytest.raises(InputError, match="two answers or more to each view, got 1"):
        hole_spread(samples[:1], region)


@pytest.mark.parametrize("count", [2, 5])
def test_however_few_the_answers_the_error_of_their_mean_has_no_bias(count: int) -> None:
    images, bias, deviation = 3000, 0.1, 0.1
    truth = torch.full((images, 3, 2, 2), 0.4)
    draws = torch.randn((count, *truth.shape), generator=torch.Generator().manual_seed(2))
    samples, region = truth + bias + deviation * draws, torch.ones(images, 1, 2, 2, dtype=torch.bool)
    samples = samples.clamp(0, 1)  # five deviations away: it changes nothing that counts
    errors = torch.stack([hole_mse(sample, truth, region) for sample in samples]).mean(dim=0)
    mean, spread = mean_hole_mse(samples, truth, region), hole_spread(samples, region)
    torch.testing.assert_close(mean + spread, errors)
    assert float(mean.mean()) == pytest.approx(bias**2, rel=0.02)
    assert float(spread.mean()) == pytest.approx(deviation**2, rel=0.02)
    assert float(mean.min()) < 0 or count > 2


def test_hole_errors_equal_numpy_and_scikit_image(photos: Tensor) -> None:
    truth, restored, region = photos[:6], noisy(photos[:6]), centre(6, 64)
    for index, (mse, psnr) in enumerate(
        zip(hole_mse(restored, truth, region), hole_psnr(restored, truth, region), strict=True)
    ):
        inside = region[index, 0].numpy()
        a, b = (x[index].permute(1, 2, 0).double().numpy()[inside] for x in (truth, restored))
        assert float(mse) == pytest.approx(np.mean((a - b) ** 2), rel=1e-5)
        assert float(psnr) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), rel=1e-5)


def test_exact_copy_has_the_ceiling_and_no_infinity(photos: Tensor) -> None:
    region = centre(4, 64)
    assert hole_mse(photos[:4], photos[:4], region).tolist() == [0.0] * 4
    assert hole_psnr(photos[:4], photos[:4], region).tolist() == [PSNR_CEILING] * 4
    torch.testing.assert_close(ssim(photos[:4], photos[:4]), torch.ones(4))


def test_half_precision_is_measured_in_single(photos: Tensor) -> None:
    truth, restored, region = photos[:4].half(), noisy(photos[:4]).half(), centre(4, 64)
    expected = hole_mse(restored.float(), truth.float(), region)
    assert hole_mse(restored, truth, region).dtype == torch.float32
    torch.testing.assert_close(hole_mse(restored, truth, region), expected)
    assert hole_mse(restored.double(), truth.double(), region).dtype == torch.float64


def test_wrong_input_is_refused_in_words(photos: Tensor) -> None:
    a, region = photos[:3], centre(3, 64)
    empty = region.clone()
    empty[1] = False
    with pytest.raises(ValueError, match="the region is empty for image 1 of the batch"):
        hole_mse(a, a, empty)
    with pytest.raises(InputError, match="divide bytes by 255"):
        hole_mse((a * 255).byte(), a, region)
    with pytest.raises(InputError, match="clip them first"):
        hole_mse(a * 2, a, region)
    with pytest.raises(InputError, match=r"values from nan|to nan"):
        ssim(a, torch.where(a == a[0, 0, 0, 0], torch.nan, a))
    with pytest.raises(InputError, match="must be the same images"):
        ssim(a, a[:2])
    with pytest.raises(InputError, match=r"region must be boolean \[3, 1, 64, 64\]"):
        hole_psnr(a, a, region.float())
    with pytest.raises(InputError, match="region must be boolean"):
        hole_psnr(a, a, region[:1])


@pytest.mark.parametrize("side", [64, 11, 10, 8, 3])
def test_ssim_equals_the_formula_in_scipy(photos: Tensor, side: int) -> None:
    truth = photos[:4, :, :side, :side].double()
    restored = noisy(truth)
    radius = min(5, (side - 1) // 2)

    def window(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x, 0.3 * radius, radius=radius, mode="mirror", axes=(2, 3))

    x, y = restored.numpy(), truth.numpy()
    mx, my = window(x), window(y)
    vx, vy, cxy = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = ((2 * mx * my + c1) * (2 * cxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    np.testing.assert_allclose(ssim(restored, truth).numpy(), expected.mean(axis=(1, 2, 3)), rtol=1e-6)


def test_ssim_equals_scikit_image_on_reflected_pictures(photos: Tensor) -> None:
    # scikit-image leaves out a border of 5 pixels, so reflecting 5 more leaves the full picture.
    truth, restored = photos[:6], noisy(photos[:6])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for index, value in enumerate(ssim(restored, truth)):
        a, b = (
            np.pad(x[index].double().numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect")
            for x in (truth, restored)
        )
        assert float(value) == pytest.approx(structural_similarity(a, b, channel_axis=0, **options), rel=1e-4)


def test_ssim_of_one_image_and_of_tiny_ones() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5)
    assert ssim(grey, grey).tolist() == pytest.approx([1.0])
    with pytest.raises(InputError, match="at least 3 x 3"):
        ssim(torch.zeros(1, 3, 2, 9), torch.zeros(1, 3, 2, 9))


def test_feature_cosine_of_worked_vectors() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[0.0, 3.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(feature_cosine(a, b), torch.tensor([0.0, 0.5**0.5, -1.0, 0.0]))
    with pytest.raises(InputError, match="same images"):
        feature_cosine(a, b[:2])
    with pytest.raises(InputError, match="not finite"):
        feature_cosine(a * torch.inf, b)
