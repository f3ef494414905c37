"""How much two sets of outputs differ, or tell of each other, in nats: Gaussian KL divergence and the InfoNCE bound.

The paper's objective is written in these terms (Li et al. 2024, arXiv:2402.00351); `docs/theory.md` says how they hang
together, and what they do not say; `theory.py` measures them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from efface.metrics.frechet import FeatureMoments
from efface.metrics.inputs import Features, MetricInputError, feature_pair

Matrix = NDArray[np.float64]


def gaussian_kl(mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike) -> float:
    """KL( N(mean_p, cov_p) || N(mean_q, cov_q) ) in nats, from 0 without bound; not symmetric.

        ( tr(Q^-1 P) + (m_q - m_p)^T Q^-1 (m_q - m_p) - D + log det Q - log det P ) / 2

    Means [D], covariances [D, D]. Raises `MetricInputError` for shapes that do not fit, values that are not finite,
    and a covariance that is not symmetric and positive definite: with a singular one the divergence is infinite.
    """
    p, q = _mean(mean_p, "mean_p"), _mean(mean_q, "mean_q")
    if p.shape != q.shape:
        raise MetricInputError(f"the means have {len(p)} and {len(q)} dimensions")
    root_p, root_q = _root(cov_p, len(p), "cov_p"), _root(cov_q, len(q), "cov_q")
    # With P = A A^T and Q = B B^T, tr(Q^-1 P) is the squared Frobenius norm of B^-1 A.
    whitened = solve_triangular(root_q, root_p, lower=True)
    shift = solve_triangular(root_q, q - p, lower=True)
    log_determinants = 2 * float(np.log(np.diag(root_q)).sum() - np.log(np.diag(root_p)).sum())
    divergence = float((whitened**2).sum()) + float(shift @ shift) - len(p) + log_determinants
    return max(divergence / 2, 0.0)


def shrunk_moments(features: Features, shrinkage: float) -> tuple[Features, Matrix]:
    """Mean [D] and covariance [D, D] of `features` [N, D], the covariance drawn to a multiple of the identity."""
    moments = FeatureMoments.of(features)
    dimension = len(moments.mean)
    average = float(np.trace(moments.covariance)) / dimension
    shrunk: Matrix = (1 - shrinkage) * moments.covariance + shrinkage * average * np.eye(dimension)
    return moments.mean, shrunk


def info_nce(a: ArrayLike, b: ArrayLike, temperature: float = 0.1) -> float:
    """The InfoNCE lower bound on the mutual information of pairs (`a`[i], `b`[i]), both [N, D], in nats.

        log N - mean_i ( -s_ii + log sum_j exp s_ij ),   s_ij = cos(a_i, b_j) / temperature

    van den Oord et al. (2018), arXiv:1807.03748, equation 4 and section 2.3: log N minus the loss of picking the
    partner of a_i among all b. At most log N, whatever the mutual information; around 0 or below for independent
    pairs. It bounds in expectation over independent pairs, for any fixed critic: a value is what this critic finds,
    and a low one does not show that little is there. A vector of length 0 has cosine 0 with every other.

    Raises `MetricInputError` for fewer than two pairs, a temperature of 0 or below, and arrays that do not fit or
    are not finite.
    """
    first, second = feature_pair(a, b)
    if len(first) != len(second):
        raise MetricInputError(
            f"pairs need as many vectors on both sides, got {len(first)} and {len(second)}"
        )
    if len(first) < 2:
        raise MetricInputError("the InfoNCE bound needs at least two pairs, got 1: its cap is log 1 = 0")
    if not (np.isfinite(temperature) and temperature > 0):
        raise MetricInputError(f"the temperature must be above 0, got {temperature}")
    scores = _unit(first) @ _unit(second).T / temperature
    loss = logsumexp(scores, axis=1) - np.diag(scores)
    return float(np.log(len(first)) - loss.mean())


def _unit(vectors: Features) -> Features:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Features = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def _mean(values: ArrayLike, name: str) -> Features:
    mean = np.asarray(values, dtype=np.float64)
    if mean.ndim != 1 or not len(mean) or not np.isfinite(mean).all():
        raise MetricInputError(f"{name} must be [dimensions], finite and not empty, got {mean.shape}")
    return mean


def _root(values: ArrayLike, dimension: int, name: str) -> Matrix:
    """The lower Cholesky factor of a covariance."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (dimension, dimension) or not np.isfinite(matrix).all():
        raise MetricInputError(
            f"{name} must be [{dimension}, {dimension}] and finite, as its mean has {dimension} dimensions, "
            f"got {matrix.shape}"
        )
    if not np.allclose(matrix, matrix.T, rtol=1e-8, atol=1e-12 * float(np.abs(matrix).max())):
        raise MetricInputError(f"{name} is not symmetric")
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise MetricInputError(
            f"{name} is not positive definite, so the divergence is infinite: leave out constant dimensions, use "
            "fewer of them, or shrink the covariances"
        ) from None
