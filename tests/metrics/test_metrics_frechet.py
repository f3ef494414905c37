"""The Fréchet distance against scipy's matrix root, torchmetrics, and Gaussians worked by hand."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from efface.errors import InputError
from efface.metrics.frechet import frechet_distance, frechet_refusal


def reference(a: np.ndarray, b: np.ndarray) -> float:
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    trace = np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + trace)


@pytest.mark.parametrize(("n", "dimension"), [(40, 2), (300, 64), (500, 128)])
def test_distance_equals_the_matrix_root_of_scipy(n: int, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    mix = random.normal(size=(dimension, dimension)) * np.logspace(0, -3, dimension)
    a = random.normal(size=(n, dimension)) @ mix
    b = random.normal(0.1, 1.3, size=(n + 20, dimension)) @ mix.T
    assert frechet_distance(a, b) == pytest.approx(reference(a, b), rel=1e-6)


def test_distance_equals_torchmetrics_on_the_same_features(mean_colours: nn.Module) -> None:
    a, b = (torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(s)) ** (s + 1) for s in (0, 1))
    theirs = FrechetInceptionDistance(feature=mean_colours, normalize=True, input_img_size=(3, 16, 16))
    theirs.set_dtype(torch.float64)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    assert frechet_distance(mean_colours(a), mean_colours(b)) == pytest.approx(
        float(theirs.compute()), rel=1e-5
    )


def test_a_shifted_and_stretched_copy_has_the_distance_of_the_gaussians() -> None:
    # In one dimension d^2 = (mu_a - mu_b)^2 + (sigma_a - sigma_b)^2, exactly, whatever the sample.
    a = np.random.default_rng(0).normal(size=(50, 1))
    b = 3 * a + 2
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_distance_to_itself_is_zero_even_with_constant_features() -> None:
    a = np.random.default_rng(0).normal(size=(200, 64))
    a[:, 10:20] = 0.5
    assert 0 <= frechet_distance(a, a) < 1e-6
    assert frechet_distance(a, a + 1) == pytest.approx(64, rel=1e-6)


def test_too_few_images_are_refused_before_and_while_measuring() -> None:
    assert frechet_refusal(128, 64) is None
    reason = frechet_refusal(127, 64)
    assert reason is not None
    assert "at least 128 images on each side, got 127" in reason
    assert "kernel_distance" in reason
    few, many = np.zeros((127, 64)), np.zeros((400, 64))
    for pair in ((few, many), (many, few)):
        with pytest.raises(ValueError, match="at least 128 images") as refused:
            frechet_distance(*pair)
        assert isinstance(refused.value, InputError)


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = np.zeros((10, 2))
    bad = good.copy()
    bad[3, 0] = np.nan
    with pytest.raises(InputError, match="feature set b has 1 of 10 images with values not finite"):
        frechet_distance(good, bad)
    with pytest.raises(InputError, match="2 and 3 dimensions"):
        frechet_distance(good, np.zeros((10, 3)))
    with pytest.raises(InputError, match=r"must be \[images, dimensions\] and not empty"):
        frechet_distance(good, np.zeros((0, 2)))
