"""Distances and scores beside other libraries on the same features: scipy's matrix root, torchmetrics.

The first comparisons stand with each metric; here are the harder cases, and what only several libraries share.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore as TheirInceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from efface.metrics.frechet import frechet_distance
from efface.metrics.inception_score import inception_score
from efface.metrics.kernel import kernel_distance


def by_matrix_root(a: np.ndarray, b: np.ndarray) -> float:
    """|mean difference|^2 + tr(A + B - 2 (A B)^(1/2)), the root by scipy's Schur method on the unsymmetric product."""
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    assert np.abs(np.imag(root)).max() < 1e-3 * np.abs(root).max(), "the reference itself is in doubt"
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + trace)


def correlated(n: int, dimension: int, smallest: float, seed: int) -> np.ndarray:
    """Features whose standard deviations along random directions fall from 1 to `smallest`."""
    random = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(random.normal(size=(dimension, dimension)))
    return random.normal(size=(n, dimension)) * np.geomspace(1, smallest, dimension) @ directions


@pytest.mark.parametrize("dimension", [2, 16, 64, 200])
@pytest.mark.parametrize("smallest", [0.5, 1e-2, 1e-4])
def test_frechet_distance_equals_scipys_matrix_root(dimension: int, smallest: float) -> None:
    a = correlated(2 * dimension + 5, dimension, smallest, seed=1)
    b = 0.1 + 1.2 * correlated(2 * dimension + 40, dimension, smallest, seed=2)
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


@pytest.mark.parametrize("smallest", [1e-6, 1e-8])
def test_frechet_distance_of_nearly_singular_covariances_equals_scipys_root(smallest: float) -> None:
    # Condition numbers of 1e12 and 1e16: the smallest variances drown in rounding, and must not spoil the rest.
    a = correlated(100, 24, smallest, seed=3)
    b = 0.05 + correlated(100, 24, smallest, seed=4)
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


def test_frechet_distance_of_gaussians_that_share_their_axes_needs_no_root_at_all() -> None:
    # (A B)^(1/2) is then the product of standard deviations, also where one is 0 and scipy's root may fail.
    random = np.random.default_rng(5)
    raw = random.normal(size=(80, 6))
    white = np.linalg.qr(raw - raw.mean(0))[0] * np.sqrt(79)
    spreads_a, spreads_b = np.array([1, 2, 3, 1e-7, 0, 0.5]), np.array([2, 2, 1, 1, 0, 0])
    expected = ((spreads_a - spreads_b) ** 2).sum() + 6 * 0.25
    assert frechet_distance(white * spreads_a, white * spreads_b + 0.5) == pytest.approx(expected, rel=1e-6)


class Given(nn.Module):
    """Hands on given vectors as the features of given numbers of images, in order."""

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__()
        self.vectors = torch.tensor(vectors)
        self.num_features = vectors.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        return self.vectors[images[:, 0, 0, 0].long()]


def numbered(count: int, first: int = 0) -> Tensor:
    """Pictures [count, 3, 1, 1] that say which they are."""
    return torch.arange(first, first + count).reshape(-1, 1, 1, 1).repeat(1, 3, 1, 1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
@pytest.mark.parametrize(("n", "dimension", "shift"), [(20, 3, 0.0), (60, 16, 0.3), (150, 64, 0.05)])
def test_kernel_distance_equals_torchmetrics_on_one_subset_of_all_images(
    n: int, dimension: int, shift: float
) -> None:
    random = np.random.default_rng(n)
    a, b = random.normal(size=(n, dimension)), random.normal(shift, 1.1, size=(n, dimension))
    theirs = KernelInceptionDistance(feature=Given(np.concatenate([a, b])), subsets=1, subset_size=n)
    theirs.update(numbered(n), real=True)
    theirs.update(numbered(n, n), real=False)
    assert kernel_distance(a, b) == pytest.approx(float(theirs.compute()[0]), rel=1e-5, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all", "ignore:std")
@pytest.mark.parametrize(("n", "classes", "splits"), [(100, 10, 10), (240, 1000, 4), (90, 3, 1)])
@pytest.mark.parametrize("sharpness", [0.5, 4.0, 40.0])
def test_inception_score_equals_torchmetrics_on_the_same_logits(
    n: int, classes: int, splits: int, sharpness: float
) -> None:
    logits = sharpness * np.random.default_rng(classes).normal(size=(n, classes))
    theirs = TheirInceptionScore(feature=Given(logits), splits=splits)
    theirs.update(numbered(n))
    # torchmetrics deals the images with torch's global draws: the same order is given to ours
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        order = torch.randperm(n)
        torch.manual_seed(0)
        mean, std = theirs.compute()
    found = inception_score(torch.tensor(logits)[order].softmax(1), splits, order_seed=None)
    assert found.mean == pytest.approx(float(mean), rel=1e-6)
    if splits > 1:
        assert found.std == pytest.approx(float(std), rel=1e-4, abs=1e-9)
