"""The official score equals the published scorer, and what that leaves open has a defined answer."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest

from efface.errors import InputError
from efface.forgetting.official import _float32_grid, bins, epsilon_table, official_score, points_of
from support import tiled_rule

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "forgetting-score-official.npz"


def sides(models: int, examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(0, 1.5, (models, examples)), random.normal(0, 1.5, (models, examples))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published scorer's values are not at hand")
@pytest.mark.parametrize("models", [16, 64, 128, 512])
def test_the_published_scorers_values_are_reproduced(models: int) -> None:
    with np.load(PUBLISHED) as stored:
        result = official_score(stored[f"unlearned_{models}"], stored[f"retrained_{models}"])
        assert np.abs(result.epsilon - stored[f"epsilon_{models}"]).max() <= 1e-6
        assert result.score == float(stored[f"score_{models}"])


def hard_example(kind: str, models: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    u, r = random.normal(0, 1, models), random.normal(0, 1, models)
    return {
        "same": (u, r),
        "negative": (u - 5, r - 5.2),
        "narrow": (u * 0.02, r * 0.02),
        "wide": (u * 8, r * 8),
        "peaky": (u * 0.1, r),
        "separated": (u + 9, r),
        "ties": (np.round(u * 4) / 4, np.round(r * 4) / 4),
        "on the grid": (np.round(u, 2), np.round(r, 2)),
        "saturated": (np.clip(u * 60, -103.6, 103.6), np.clip(r * 60, -103.6, 103.6)),
        "one outlier": (np.append(u[1:], 12.0), r),
        "equal ranges": (u, -u),
        "constants apart": (np.full(models, 2.0), np.full(models, -1.0)),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("same", "negative", "narrow", "wide", "peaky", "separated", "ties", "on the grid", "saturated"),
        *("one outlier", "equal ranges", "constants apart"),
    ],
)
def test_epsilon_is_that_of_every_threshold_tried_in_turn(kind: str) -> None:
    random = np.random.default_rng(3)
    for models in (9, 16):
        u, r = hard_example(kind, models, random)
        expected = min(tiled_rule.epsilon(u, r), 50.0)
        result = official_score(u[:, None], r[:, None])
        assert result.epsilon[0] == pytest.approx(expected, abs=1e-6)
        assert not result.unresolved[0]


def test_single_thresholds_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for start, stop, count in ((-4.2, 5.1, 930), (-103.6, 103.6, 20723), (1.0, 1.25, 25), (3.0, 3.001, 1)):
        theirs = torch.linspace(torch.tensor(start), torch.tensor(stop), count).numpy()
        np.testing.assert_allclose(
            _float32_grid(start, stop, count), theirs, rtol=0, atol=1e-7 * max(abs(stop), 1) * 2
        )


def test_one_attack_worked_by_hand() -> None:
    # 2 false positives and 3 false negatives of 10: max(log(.79999/.3), log(.69999/.2)) = log 3.49995
    assert epsilon_table(10)[2, 3] == pytest.approx(np.log(3.49995), abs=1e-6)
    # of no use: one rate is 0; perfect: both are; no better than a coin: 0
    assert epsilon_table(10)[0, 3] == -1
    assert epsilon_table(10)[0, 0] == np.inf
    assert epsilon_table(10)[5, 5] == 0


def test_bins_follow_the_number_of_models() -> None:
    assert [bins(n) for n in (2, 3, 32, 64, 128, 512)] == [0, 2, 8, 10, 10, 14]
    assert points_of([0.0, 0.49, 0.5, 6.49, 6.99, 7.0, np.inf, 50], 512).tolist() == [
        *(1.0, 1.0, 0.5, 2.0**-12, 2.0**-13),
        *(0.0, 0.0, 0.0),
    ]


def test_identical_models_score_one_and_separated_ones_zero() -> None:
    u, _ = sides(32, 5)
    assert official_score(u, u.copy()).score == 1.0
    apart = official_score(u, u + 30)
    assert apart.score == 0.0
    assert apart.epsilon.tolist() == [50.0] * 5


def test_the_order_of_models_does_not_matter_and_one_wide_side_widens_both() -> None:
    u, r = (side.astype(np.float32) for side in sides(32, 20))
    result = official_score(u, r)
    assert official_score(u[::-1], r).epsilon.tolist() == result.epsilon.tolist()
    wide = official_score(u.astype(np.float64), r.astype(np.float64))
    assert official_score(u, r.astype(np.float64)).epsilon.tolist() == wide.epsilon.tolist()


def test_equal_constants_cannot_be_told_apart() -> None:
    values = np.full((8, 2), 3.0)
    with pytest.raises(
        InputError, match=r"stops at 2 examples \(0, 1\), where all values of both sides are equal"
    ):
        official_score(values, values)
    result = official_score(values, values, where_it_stops="define")
    assert result.epsilon.tolist() == [0, 0]
    assert result.score == 1.0
    assert result.unresolved.all()


def test_a_constant_side_against_a_spread_one_gets_the_cap() -> None:
    _, r = sides(16, 1)
    result = official_score(np.full((16, 1), 0.0), r)
    assert result.epsilon.tolist() == [50]
    assert not result.unresolved.any()


def test_what_the_grid_cannot_resolve_is_named() -> None:
    u, r = sides(16, 3)
    result = official_score(u * 1e-5 + 0.0033, r * 1e-5 + 0.0033, where_it_stops="define")
    assert result.unresolved.tolist() == [True] * 3


def test_where_no_attack_survives_nothing_is_earned() -> None:
    steps = np.arange(16.0)[:, None] * 2.0**-20
    u, r = 0.5 + steps, 0.5 + np.roll(steps, 1) * 0.75
    assert np.isnan(tiled_rule.epsilon(u[:, 0], r[:, 0]))
    with pytest.raises(InputError, match="so close together that no threshold"):
        official_score(u, r)
    result = official_score(u, r, where_it_stops="define")
    assert result.unresolved.all()
    assert result.score == 0.0


def test_all_faults_are_named_at_once() -> None:
    u, r = sides(16, 4)
    u[2, 1], u[3, 0] = np.nan, np.inf
    with pytest.raises(InputError) as caught:
        official_score(u, r[:12, :3])
    text = str(caught.value)
    assert "1 values are NaN, the first of model 2, example 1" in text
    assert "1 values are infinite, the first of model 3, example 0" in text
    assert "unlearned has 4 examples; retrained has 3 examples" in text
    assert "unlearned has 16 models; retrained has 12 models" in text


@pytest.mark.parametrize(
    ("unlearned", "message"),
    [
        (np.zeros((2, 3)), "2 models, but at least 3"),
        (np.zeros((8, 0)), "no example"),
        (np.zeros(8), r"\[models, examples\]"),
        (np.full((8, 1), "a"), "not a real number"),
        (np.full((8, 1), 2e4), "no logit-scaled confidences"),
    ],
)
def test_input_that_has_no_score_is_refused(unlearned: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        official_score(unlearned, unlearned)


def test_the_input_is_left_as_it_is() -> None:
    u, r = sides(16, 3)
    before = u.copy(), r.copy()
    official_score(u, r)
    assert (u == before[0]).all()
    assert (r == before[1]).all()


@pytest.mark.slow
def test_the_full_competition_size_takes_seconds_and_little_memory() -> None:
    u, r = sides(512, 1500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    official_score(u, r)
    assert time.process_time() - began < 7
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200
