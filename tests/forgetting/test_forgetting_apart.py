"""Models are told apart at the stated rate, and how far apart they are does not depend on their number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from efface.errors import InputError
from efface.forgetting.apart import _distances, shift_of, told_apart


def sides(models: int, examples: int, shift: float, seed: int, others: int = 0) -> list[np.ndarray]:
    """Normal laws, with effects of a model that all of its examples share."""
    random = np.random.default_rng(seed)
    return [
        np.sqrt(0.3) * random.normal(size=(n, 1)) + np.sqrt(0.7) * random.normal(size=(n, examples)) + by
        for n, by in ((models, shift), (others or models, 0.0))
    ]


@pytest.mark.parametrize("models", [8, 16, 32, 64, 256])
@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_same_shift_is_the_same_figure_at_any_number_of_models(models: int, shift: float) -> None:
    repeats = 2048 // models
    found = [_distances(*sides(models, 20, shift, seed)).mean() for seed in range(repeats)]
    # without bias is D, and the shift of its mean is what many repeats tend to
    assert shift_of(float(np.mean(found))) == pytest.approx(shift, abs=0.12)


def test_without_a_difference_the_effect_is_none_on_average_and_the_test_is_right() -> None:
    found = [told_apart(*sides(8, 12, 0.0, seed, others=10), deals=99, seed=seed) for seed in range(200)]
    assert np.mean([one.told_apart for one in found]) == pytest.approx(0.05, abs=0.04)
    assert np.mean([one.shift for one in found]) == pytest.approx(0.0, abs=0.1)
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.025)
    for one in found:
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.shift <= one.high
        assert (one.low > 0) == one.told_apart == (one.p <= 0.05)


def test_the_interval_holds_the_true_shift() -> None:
    found = [told_apart(*sides(16, 20, 1.0, seed), deals=99, seed=seed) for seed in range(80)]
    assert np.mean([one.low < 1.0 < one.high for one in found]) >= 0.88  # type: ignore[operator]


def test_the_distance_is_that_of_its_definition() -> None:
    for shift in (0.3, 1.0, 2.5):

        def square(z: float, shift: float = shift) -> float:
            density = (norm.pdf(z) + norm.pdf(z - shift)) / 2
            return float((norm.cdf(z) - norm.cdf(z - shift)) ** 2 * density)

        assert shift_of(quad(square, -10, 14)[0]) == pytest.approx(shift, abs=1e-4)
    assert shift_of(1 / 3) == 4.0
    assert shift_of(-quad(square, -10, 14)[0]) == pytest.approx(-2.5, abs=1e-4)


def test_the_distance_is_counted_over_models_that_are_not_the_same_one() -> None:
    random = np.random.default_rng(4)
    u, r = random.normal(size=5), random.normal(0.5, 1, size=4)
    means = []
    for here in (u, r):
        at = []
        for place, z in enumerate(here):
            a, b = ((np.delete(side, place) if side is here else side) <= z for side in (u, r))
            same = [
                np.mean([x * y for i, x in enumerate(one) for j, y in enumerate(one) if i != j])
                for one in (a, b)
            ]
            at.append(sum(same) - 2 * a.mean() * b.mean())
        means.append(np.mean(at))
    assert _distances(u[:, None], r[:, None])[0] == pytest.approx(np.mean(means))


def test_models_without_any_overlap_are_as_far_apart_as_can_be_told() -> None:
    u, r = sides(8, 5, 0.0, 1)
    found = told_apart(u + 30, r)
    assert (found.shift, found.told_apart, found.p) == (4.0, True, found.smallest_p)


def test_one_law_with_many_ties_is_not_told_apart_and_a_spread_of_none_is() -> None:
    u, r = (np.round(side) for side in sides(16, 10, 0.0, 2))
    assert not told_apart(u, r).told_apart
    assert told_apart(u, r + 1).shift == pytest.approx(told_apart(np.exp(u), np.exp(r + 1)).shift)
    assert told_apart(np.zeros((16, 10)), sides(16, 10, 0.0, 3)[1]).told_apart


def test_three_models_are_refused() -> None:
    u, r = sides(4, 3, 0.0, 0)
    with pytest.raises(InputError, match="at least 4"):
        told_apart(u[:3], r)
    assert told_apart(u, r).low is None
