"""The kernel distance against a plain double loop, torchmetrics, and simulated truths."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from efface.errors import InputError
from efface.metrics import kernel
from efface.metrics.kernel import kernel_distance, kernel_distance_interval


def loop(a: np.ndarray, b: np.ndarray, groups_a: np.ndarray, groups_b: np.ndarray) -> float:
    def mean(x: np.ndarray, y: np.ndarray, gx: np.ndarray, gy: np.ndarray) -> float:
        pairs = itertools.product(range(len(x)), range(len(y)))
        values = [(x[i] @ y[j] / x.shape[1] + 1) ** 3 for i, j in pairs if gx[i] != gy[j]]
        return float(np.mean(values))

    within = mean(a, a, groups_a, groups_a) + mean(b, b, groups_b, groups_b)
    return within - 2 * mean(a, b, groups_a, groups_b)


def sets(n: int = 23, m: int = 31, shift: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(n, 5)), random.normal(shift, 1.2, size=(m, 5))


@pytest.fixture(params=[512, 7])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK", request.param)
    monkeypatch.setattr(kernel, "RESAMPLES_AT_ONCE", 64)


@pytest.mark.usefixtures("_block")
def test_distance_equals_a_double_loop_over_all_pairs() -> None:
    a, b = sets()
    alone_a, alone_b = np.arange(23), np.arange(23, 54)
    assert kernel_distance(a, b) == pytest.approx(loop(a, b, alone_a, alone_b), rel=1e-12)
    photos_a, photos_b = np.arange(23) // 3, np.arange(31) // 4
    expected = loop(a, b, photos_a, photos_b)
    assert kernel_distance(a, b, photos_a, photos_b) == pytest.approx(expected, rel=1e-12)
    names_a, names_b = (np.array([f"photo {g}" for g in groups]) for groups in (photos_a, photos_b))
    order = np.random.default_rng(1).permutation(23)
    shuffled = kernel_distance(a[order], b, names_a[order], names_b)
    assert shuffled == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
def test_distance_equals_torchmetrics_with_one_subset_of_all_images(mean_colours: nn.Module) -> None:
    a, b = (torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(s)) ** (s + 1) for s in (0, 1))
    theirs = KernelInceptionDistance(feature=mean_colours, normalize=True, subsets=1, subset_size=40)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    assert kernel_distance(mean_colours(a), mean_colours(b)) == pytest.approx(
        float(theirs.compute()[0]), abs=1e-5
    )


def test_perfect_restorations_of_the_same_photos_have_distance_zero() -> None:
    a, _ = sets()
    photos = np.arange(len(a))
    assert kernel_distance(a, a, photos, photos) == pytest.approx(0, abs=1e-12)
    assert kernel_distance(a, a) < -0.01, "without names each image meets itself, which looks like likeness"
    interval = kernel_distance_interval(a, a, photos, photos, resamples=100)
    assert interval is not None
    np.testing.assert_allclose(interval, 0, atol=1e-6)


@pytest.mark.usefixtures("_block")
def test_every_resample_is_the_distance_of_the_drawn_photos() -> None:
    a, b = sets()
    photos_a, photos_b = np.arange(23) // 3, 4 + np.arange(31) // 4  # four photos are in both
    sides = kernel._Sides.of(a, b, photos_a, photos_b)
    drawn = kernel._times_drawn(sides, 100, np.random.default_rng(3))
    assert {drawn[:4].sum(0).max(), drawn[4:8].sum(0).min(), drawn[8:].sum(0).max()} == {4}
    got = (
        kernel._resampled_mean(sides.a, sides.a, drawn, 1.5)
        + kernel._resampled_mean(sides.b, sides.b, drawn, 1.5)
        - 2 * kernel._resampled_mean(sides.a, sides.b, drawn, 1.5)
    )
    for resample in range(0, 100, 10):
        times = drawn[:, resample]
        rows_a, rows_b = (np.repeat(np.arange(len(g)), times[g]) for g in (photos_a, photos_b))
        expected = loop(a[rows_a], b[rows_b], photos_a[rows_a], photos_b[rows_b])
        assert got[resample] == pytest.approx(expected, abs=1e-4)


def test_interval_does_not_depend_on_blocks_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sets()
    groups = np.arange(23) // 2, 100 + np.arange(31) // 2
    whole = kernel_distance_interval(a, b, *groups, resamples=200, seed=4)
    monkeypatch.setattr(kernel, "BLOCK", 5)
    order = np.random.default_rng(0).permutation(23)
    again = kernel_distance_interval(a[order], b, groups[0][order], groups[1], resamples=200, seed=4)
    assert whole is not None
    assert again is not None
    assert whole.low < whole.value < whole.high
    np.testing.assert_allclose(whole, again, rtol=1e-4)


def test_interval_needs_five_photos_on_each_side() -> None:
    a, b = sets()
    assert kernel_distance_interval(a, b, np.arange(23) % 4, 10 + np.arange(31)) is None
    assert kernel_distance_interval(a, b, np.arange(23) % 5, 10 + np.arange(31), resamples=100) is not None


@pytest.mark.parametrize("design", ["independent", "crops", "same photos"])
def test_interval_holds_the_truth_about_as_often_as_it_says(design: str) -> None:
    held, runs, n, dimension, shift = 0, 120, 60, 8, 0.5
    # The two laws of every design are N(0, I) and N(shift, I), so a large sample gives the truth.
    random = np.random.default_rng(99)
    truth = kernel_distance(random.normal(size=(4000, 8)), random.normal(shift, 1, size=(4000, 8)))
    for seed in range(runs):
        random = np.random.default_rng(seed)
        a, b = random.normal(size=(n, dimension)), random.normal(size=(n, dimension))
        groups_a, groups_b = np.arange(n), np.arange(n, 2 * n)
        if design == "crops":
            groups_a, groups_b = groups_a // 3, groups_b // 3 + n
            a, b = (0.6 * x + 0.8 * random.normal(size=(n // 3, dimension)).repeat(3, axis=0) for x in (a, b))
        elif design == "same photos":
            groups_b = groups_a
            b = 0.6 * b + 0.8 * a
        interval = kernel_distance_interval(a, b + shift, groups_a, groups_b, resamples=300, seed=seed)
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert 0.88 <= held / runs <= 1.0


def test_arrays_and_groups_that_do_not_fit_are_refused() -> None:
    a, b = sets()
    with pytest.raises(InputError, match="groups_b must name the photo of each of 31 images"):
        kernel_distance(a, b, np.arange(23), np.arange(30))
    with pytest.raises(InputError, match="both feature sets or of neither"):
        kernel_distance(a, b, np.arange(23))
    with pytest.raises(ValueError, match="at least two photos on each side, got 1 and 31"):
        kernel_distance(a, b, np.zeros(23), np.arange(1, 32))
    with pytest.raises(InputError, match="confidence must lie between 0 and 1"):
        kernel_distance_interval(a, b, confidence=95)
