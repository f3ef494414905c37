"""Gaussian KL against integrals and closed forms; the InfoNCE bound worked by hand and against known information."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from divergence import gaussian_kl, info_nce, shrunk_moments
from efface.errors import InputError


def covariance(dimension: int, seed: int) -> np.ndarray:
    mix = np.random.default_rng(seed).normal(size=(dimension, dimension))
    return mix @ mix.T + 0.1 * np.eye(dimension)


@pytest.mark.parametrize(("mu_p", "sd_p", "mu_q", "sd_q"), [(0, 1, 0, 1), (1, 0.5, -1, 2), (0.3, 2, 0, 0.7)])
def test_kl_in_one_dimension_equals_the_integral(mu_p: float, sd_p: float, mu_q: float, sd_q: float) -> None:
    p, q = stats.norm(mu_p, sd_p), stats.norm(mu_q, sd_q)
    expected, _ = integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), mu_p - 12 * sd_p, mu_p + 12 * sd_p
    )
    got = gaussian_kl([mu_p], [[sd_p**2]], [mu_q], [[sd_q**2]])
    assert got == pytest.approx(expected, abs=1e-7)


def test_kl_equals_torchs_in_several_dimensions() -> None:
    for dimension in (2, 7, 30):
        mean_p, mean_q = np.random.default_rng(dimension).normal(size=(2, dimension))
        cov_p, cov_q = covariance(dimension, 1), covariance(dimension, 2)
        p, q = (
            torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(cov))
            for mean, cov in ((mean_p, cov_p), (mean_q, cov_q))
        )
        expected = float(torch.distributions.kl_divergence(p, q))
        assert gaussian_kl(mean_p, cov_p, mean_q, cov_q) == pytest.approx(expected, rel=1e-9)


def test_kl_of_hand_worked_gaussians() -> None:
    # Equal covariances: half the squared Mahalanobis distance, here (3^2 / 9 + 4^2 / 4) / 2.
    assert gaussian_kl([0, 0], np.diag([9, 4]), [3, 4], np.diag([9, 4])) == pytest.approx(2.5)
    # Four times the variance in D = 3: (3 / 4 - 3 + 3 log 4) / 2 one way, (12 - 3 - 3 log 4) / 2 the other.
    small, large = np.eye(3), 4 * np.eye(3)
    assert gaussian_kl([0] * 3, small, [0] * 3, large) == pytest.approx((3 / 4 - 3 + 3 * math.log(4)) / 2)
    assert gaussian_kl([0] * 3, large, [0] * 3, small) == pytest.approx((9 - 3 * math.log(4)) / 2)
    assert gaussian_kl([1, 2], covariance(2, 0), [1, 2], covariance(2, 0)) == pytest.approx(0, abs=1e-12)


def test_the_gaussian_of_equal_moments_is_the_nearest_and_the_rest_adds_up() -> None:
    # KL(p || N(m, S)) = KL(p || g) + KL(g || N(m, S)) for any p with the moments of g: section 2 of docs/theory.md.
    left, right = stats.norm(-1, 0.4), stats.norm(2, 0.7)
    mean, variance = 0.5 * (-1 + 2), 0.5 * (0.4**2 + 1 + 0.7**2 + 4) - 0.25

    def kl_to(q_mean: float, q_variance: float) -> float:
        def integrand(x: float) -> float:
            p = 0.5 * (left.pdf(x) + right.pdf(x))
            return p * (math.log(p) - stats.norm.logpdf(x, q_mean, math.sqrt(q_variance)))

        return integrate.quad(integrand, -5, 8, limit=200)[0]

    nearest = kl_to(mean, variance)
    for q_mean, q_variance in ((0.0, 1.0), (mean, 4.0), (2.0, variance)):
        added = gaussian_kl([mean], [[variance]], [q_mean], [[q_variance]])
        assert kl_to(q_mean, q_variance) == pytest.approx(nearest + added, rel=1e-6)
        assert added > 0


def test_shrinkage_is_the_documented_mixture_and_makes_constant_features_finite() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(50, 3)), random.normal(size=(50, 3)) * [1, 2, 0]
    with pytest.raises(InputError, match="not positive definite, so the divergence is infinite"):
        gaussian_kl(*shrunk_moments(a, 0.0), *shrunk_moments(b, 0.0))
    mean, covariance = shrunk_moments(b, 0.1)
    assert mean == pytest.approx(b.mean(0))
    assert covariance == pytest.approx(0.9 * np.cov(b.T) + 0.1 * np.trace(np.cov(b.T)) / 3 * np.eye(3))
    assert np.isfinite(gaussian_kl(*shrunk_moments(a, 0.1), mean, covariance))


def test_gaussians_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 dimensions"):
        gaussian_kl([0, 0], np.eye(2), [0] * 3, np.eye(3))
    with pytest.raises(InputError, match=r"cov_q must be \[2, 2\]"):
        gaussian_kl([0, 0], np.eye(2), [0, 0], np.eye(3))
    with pytest.raises(InputError, match="cov_p is not symmetric"):
        gaussian_kl([0, 0], [[1, 0.5], [0, 1]], [0, 0], np.eye(2))
    with pytest.raises(InputError, match="mean_p must be"):
        gaussian_kl([[0]], [[1]], [0], [[1]])


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_bound_of_identical_orthogonal_vectors_is_the_hand_worked_one(temperature: float) -> None:
    # s_ii = 1 / t and s_ij = 0, so the loss is log(1 + (N - 1) exp(-1 / t)).
    n = 16
    expected = math.log(n) - math.log(1 + (n - 1) * math.exp(-1 / temperature))
    assert info_nce(np.eye(n), 3 * np.eye(n), temperature) == pytest.approx(expected, rel=1e-12)


def test_bound_never_exceeds_log_n_and_reaches_it() -> None:
    a = np.random.default_rng(0).normal(size=(64, 20))
    assert math.log(64) - 1e-3 < info_nce(a, a, 0.02) <= math.log(64)
    assert info_nce(a[:8], a[:8], 0.02) <= math.log(8)


def test_vectors_that_are_all_alike_tell_nothing() -> None:
    a = np.random.default_rng(0).normal(size=(10, 3))
    assert info_nce(a, np.ones((10, 3))) == pytest.approx(0, abs=1e-12)
    assert info_nce(a, np.zeros((10, 3))) == pytest.approx(0, abs=1e-12)


def test_independent_vectors_have_a_bound_around_zero_and_wrong_partners_one_below() -> None:
    random = np.random.default_rng(0)
    values = [info_nce(random.normal(size=(64, 8)), random.normal(size=(64, 8)), 1.0) for _ in range(40)]
    assert abs(np.mean(values)) < 0.1
    assert max(values) < 0.2
    shifted = info_nce(np.eye(8), np.roll(np.eye(8), 1, axis=0), 0.1)
    assert shifted == pytest.approx(math.log(8) - math.log(7 + math.exp(10)), rel=1e-9)


def test_bound_stays_below_the_mutual_information_of_correlated_gaussians() -> None:
    # D independent pairs of correlation r have -D/2 log(1 - r^2) nats.
    random, dimension = np.random.default_rng(0), 4
    for correlation in (0.3, 0.6, 0.9):
        information = -dimension / 2 * math.log(1 - correlation**2)
        found = []
        for _ in range(30):
            a = random.normal(size=(128, dimension))
            b = correlation * a + math.sqrt(1 - correlation**2) * random.normal(size=a.shape)
            found.append(max(info_nce(a, b, t) for t in (0.2, 0.5, 1.0)))
        assert 0.2 * information < np.mean(found) < information


def test_bound_of_unit_vectors_falls_with_their_squared_distance_as_the_theory_page_writes_it() -> None:
    # With s = (1 - d^2 / 2) / t the constants cancel: -mean d_ii^2 / 2t - mean log mean_j exp(-d_ij^2 / 2t).
    random = np.random.default_rng(0)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in random.normal(size=(2, 12, 5)))
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    expected = -np.diag(squared).mean() / 0.4 - np.log(np.exp(-squared / 0.4).mean(axis=1)).mean()
    assert info_nce(a, b, 0.2) == pytest.approx(expected, rel=1e-9)


def test_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="as many vectors on both sides, got 4 and 5"):
        info_nce(np.ones((4, 2)), np.ones((5, 2)))
    with pytest.raises(InputError, match="at least two pairs"):
        info_nce(np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(InputError, match="temperature must be above 0"):
        info_nce(np.ones((4, 2)), np.ones((4, 2)), 0)
