"""How far two orders of methods agree: values worked by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from efface.benchmark.stability import agreement, kendall_tau, stability
from efface.errors import InputError


def test_one_turned_pair_of_six_costs_a_third() -> None:
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx((5 - 1) / 6)
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1


def test_ties_count_as_in_scipy() -> None:
    draws = np.random.default_rng(0)
    a, b = draws.integers(0, 4, (2, 20, 9))
    expected = [stats.kendalltau(one, other, variant="b").statistic for one, other in zip(a, b, strict=True)]
    np.testing.assert_allclose(kendall_tau(a, b), expected)


def test_a_side_that_makes_all_equal_has_no_order() -> None:
    found = agreement(("a", "b"), dict.fromkeys("xyz", 0.5), {"x": 1.0, "y": 2.0, "z": 3.0})
    assert (found.tau, found.low, found.high, found.methods) == (None, None, None, 3)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        kendall_tau([1.0, float("nan")], [1.0, 2.0])


def test_an_interval_holds_its_tau_and_repeats() -> None:
    one = {str(place): float(place) for place in range(20)}
    other = {name: value + (3 if place % 4 == 0 else 0) for place, (name, value) in enumerate(one.items())}
    found = agreement(("a", "b"), one, other)
    assert found.tau is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.tau < found.high <= 1
    assert agreement(("a", "b"), one, other) == found
    assert agreement(("a", "b"), one, other, seed=1) != found


def test_all_setups_and_all_experiments_of_one_are_compared_in_pairs() -> None:
    scores = {
        "reuse-n-1": {"a": [0.1, 0.3], "b": [0.2, 0.2], "c": [0.3, 0.1]},
        "reuse-n-n": {"a": [0.1], "b": [0.2], "c": [0.3]},
    }
    found = {(one.one, one.other): one.tau for one in stability(scores)}
    assert found == {
        # all means of reuse-n-1 are 0.2
        ("reuse-n-1", "reuse-n-n"): None,
        ("reuse-n-1, experiment 1", "reuse-n-1, experiment 2"): -1.0,
    }


def test_a_method_without_all_of_its_scores_is_left_out() -> None:
    scores = {"one": {"a": [0.1], "b": [0.2], "c": [0.3], "d": []}, "other": {name: [0.1] for name in "abcd"}}
    assert stability(scores)[0].methods == 3
