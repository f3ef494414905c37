"""The robust score: no noise floor, no scale, all thresholds, and an interval that holds what it says."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from efface.errors import InputError
from efface.forgetting.official import DELTA
from efface.forgetting.robust import _interval, robust_score
from efface.forgetting.search import Criterion, Order, _best, cross_fit, exact_bounds, log_ratio


def sides(models: int, examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(models, examples)), random.normal(size=(models, examples))


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    place = Path(__file__).parents[2] / "benchmarks" / "score_behaviour.py"
    spec = importlib.util.spec_from_file_location("forgetting_measure", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("decimals", [8, 1])
def test_the_search_finds_the_best_of_all_intervals(decimals: int) -> None:
    random = np.random.default_rng(5)
    n, delta = 7, DELTA
    criterion = Criterion.of(n, 0.99, delta)
    for _ in range(30):
        u, r = (np.round(random.normal(0, 1, (n, 1)), decimals) for _ in range(2))
        order = Order.of(u, r)
        side = np.repeat(np.array([0, 1], dtype=np.int8), n)
        begin, end, guess, _ = _best(side[order.models[0]], np.ones(2 * n, dtype=bool), order, 0, criterion)
        inside = side[order.models[0, begin:end]]
        mine = np.count_nonzero(inside == guess)
        found = criterion.strength[mine, len(inside) - mine]
        values = np.unique(np.concatenate([u, r]))
        every = []
        for low, high in itertools.combinations_with_replacement(values, 2):
            a, b = (np.count_nonzero((s >= low) & (s <= high)) for s in (u, r))
            every += [criterion.strength[a, b], criterion.strength[b, a]]
        assert found == max(every)


def test_strength_is_the_better_of_the_bounds_from_inside_and_outside() -> None:
    n, level = 20, 0.99
    low, high = exact_bounds(np.arange(n + 1), n, level)
    criterion = Criterion.of(n, level, DELTA)
    # 9 of its own side inside and 1 of the other: outside are 11 of its own and 19 of the other
    inside = np.log((low[9] - DELTA) / high[1])
    outside = np.log((low[19] - DELTA) / high[11])
    assert criterion.strength[9, 1] == pytest.approx(max(inside, outside))
    assert criterion.outside[9, 1] == (outside > inside)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    low, high = exact_bounds(np.arange(11), 10, 0.975)
    for count in range(11):
        reference = stats.binomtest(count, 10).proportion_ci(0.95, method="exact")
        assert (low[count], high[count]) == pytest.approx((reference.low, reference.high))


def test_an_attack_is_counted_on_models_that_did_not_choose_it() -> None:
    # four models a side, the first two of each in the first half; unlearned all below 0, retrained all above
    u, r = np.array([[-4.0], [-1.0], [-3.0], [-2.0]]), np.array([[1.0], [4.0], [2.0], [3.0]])
    side = np.repeat(np.array([0, 1], dtype=np.int8), 4)
    half = np.array([0, 0, 1, 1] * 2, dtype=np.int8)
    criterion = Criterion.of(2, 0.9, DELTA)
    held = cross_fit(Order.of(u, r), side, half, (criterion, criterion))
    # chosen on -3, -2: everything up to -2, which misses -1; chosen on -4, -1: everything up to -1, which holds both
    assert held.hits.tolist() == [[1, 2]]
    assert held.misses.tolist() == [[0, 0]]


def test_epsilon_and_points_worked_by_hand_where_sides_are_apart() -> None:
    result = robust_score(np.zeros((16, 3)), np.ones((16, 3)), deals=0)
    # every half: 8 of 8 against 0 of 8, with half a model added: 8.5/9 against 0.5/9
    epsilon = np.log((8.5 / 9 - DELTA) / (0.5 / 9))
    assert result.epsilon == pytest.approx([epsilon] * 3)
    assert result.score == pytest.approx(2 ** (-2 * epsilon))
    # exact bounds at 1 - 0.05/4 each
    low = 0.0125 ** (1 / 8)
    assert result.epsilon_low == pytest.approx([np.log((low - DELTA) / (1 - low))] * 3)


def test_any_increasing_change_of_scale_changes_nothing() -> None:
    u, r = sides(24, 10)
    u = u * 0.7 + 0.4
    first = robust_score(u, r, deals=10)
    for change in (lambda x: 1e-6 * x + 3, lambda x: 1e6 * x, np.exp, np.arctan):
        other = robust_score(change(u), change(r), deals=10)
        assert other.epsilon.tolist() == first.epsilon.tolist()
        assert other.interval == first.interval


def test_turning_the_statistic_round_changes_nothing() -> None:
    u, r = sides(24, 10, seed=4)
    first, turned = robust_score(u + 0.8, r, deals=0), robust_score(-u - 0.8, -r, deals=0)
    assert turned.score == pytest.approx(first.score, abs=0.03)
    one_way, other_way = robust_score(u + 1.5, r, deals=0).score, robust_score(u - 1.5, r, deals=0).score
    assert one_way == pytest.approx(other_way, abs=0.1)


def test_retrained_against_retrained_scores_one_and_closes_in_on_it() -> None:
    spread = {}
    for models in (16, 64, 256):
        u, r = sides(models, 150, seed=models)
        result = robust_score(u, r, deals=0)
        error = result.points.std() / np.sqrt(150)
        assert abs(result.score - 1) < 4 * error
        spread[models] = result.points.std()
    assert spread[256] < spread[64] < spread[16]


def test_one_odd_model_does_not_decide() -> None:
    u, r = sides(64, 40)
    odd = u.copy()
    odd[0] += 100
    assert robust_score(odd, r, deals=0).score == pytest.approx(robust_score(u, r, deals=0).score, abs=0.05)


def test_constant_and_equal_models_are_not_told_apart() -> None:
    same = robust_score(np.ones((8, 2)), np.ones((8, 2)), deals=10)
    assert same.score == pytest.approx(1.0)
    assert same.epsilon == pytest.approx([0, 0])
    assert robust_score(np.ones((16, 2)), np.zeros((16, 2)), deals=0).score < 0.02


def test_the_same_seed_gives_the_same_result() -> None:
    u, r = sides(20, 6)
    first, again, other = (vars(robust_score(u, r, seed=seed, deals=10)) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["epsilon"], other["epsilon"])


def test_the_bootstrap_widens_the_interval_and_the_test_decides_whether_it_holds_the_top() -> None:
    assert _interval(0.85, 0.05, (0.7, 1.2), told_apart=True) == (0.7, np.nextafter(1, 0))
    assert _interval(0.85, 0.05, (0.7, 0.9), told_apart=False) == (0.7, 1.0)
    assert _interval(1.1, 0.05, (1.05, 1.2), told_apart=False)[0] == 1.0


def test_a_tenth_of_examples_that_are_remembered_shows_in_the_tail_and_hardly_in_the_mean() -> None:
    u, r = sides(32, 60, seed=3)
    u[:, :7] += 4
    found = robust_score(u, r)
    assert found.tail_by_chance is not None
    assert found.score > 0.85
    assert found.tail.epsilon_90 > 1.5 > 5 * found.tail_by_chance.epsilon_90
    assert found.tail.shown == pytest.approx(7 / 60, abs=1e-9)
    assert found.tail_by_chance.shown < 0.01


def test_lower_bounds_of_single_examples_rarely_exceed_a_true_zero() -> None:
    u, r = sides(64, 400, seed=8)
    assert np.mean(robust_score(u, r, deals=0).epsilon_low > 0) <= 0.05


def test_log_ratio_is_the_definition_of_epsilon() -> None:
    assert log_ratio(np.array(0.5), np.array(0.25), 1e-5) == pytest.approx(np.log(0.49999 / 0.25))


def test_input_without_a_robust_score_is_refused() -> None:
    u, r = sides(8, 2)
    with pytest.raises(InputError, match="at least 4"):
        robust_score(u[:3], r[:3])
    with pytest.raises(InputError, match="they must be equal"):
        robust_score(u, r[:6])
    with pytest.raises(InputError, match="at least 10"):
        robust_score(u, r, deals=3)


def test_the_interval_holds_the_top_unless_the_models_are_told_apart() -> None:
    for shift, seed in ((0.0, 0), (0.0, 1), (0.3, 2), (0.4, 3), (0.5, 4)):
        u, r = sides(16, 8, seed)
        found = robust_score(u + shift, r, deals=10)
        assert found.interval is not None
        assert found.apart is not None
        assert (found.interval[1] < 1) == found.apart.told_apart


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("models", [16, 64, 512])
@pytest.mark.parametrize("law", ["normal", "heavy tails", "mixture", "skewed, with ties"])
def test_null_coverage_of_the_interval_is_calibrated(measure: ModuleType, law: str, models: int) -> None:
    assert 0.93 <= measure.coverage(law, models, 1000) <= 0.97


@pytest.mark.slow
def test_the_full_competition_size_takes_less_than_a_minute() -> None:
    import time

    u, r = sides(512, 1500)
    began = time.process_time()
    robust_score(u, r)
    assert time.process_time() - began < 60
