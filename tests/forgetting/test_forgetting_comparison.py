"""A score stands beside its ceiling, its floor and the value of doing nothing, all at one number of models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from efface.errors import InputError
from efface.forgetting.comparison import compare
from efface.forgetting.facts import facts_of
from efface.forgetting.intervals import bootstrap_interval
from efface.forgetting.official import official_score


def normal(models: int, examples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.5, (models, examples))


def test_a_pool_of_twice_the_size_keeps_all_at_the_full_number() -> None:
    found = compare(normal(16, 40, 0), normal(32, 40, 1), normal(16, 40, 2) + 4)
    assert (found.models, found.equal_models) == (16, 16)
    assert found.do_nothing is not None
    assert found.floor.value == 0
    assert found.do_nothing.value < 0.1 < found.ceiling.value
    assert found.measurable
    assert found.verdict.startswith("not told apart from retraining (p = ")


def test_without_it_halves_are_compared_at_half_the_number() -> None:
    found = compare(normal(24, 30, 0), normal(24, 30, 1))
    assert (found.models, found.equal_models) == (24, 12)
    assert found.do_nothing is None
    assert facts_of(found).do_nothing is None


def test_a_useless_unlearner_is_no_better_than_doing_nothing() -> None:
    original = normal(16, 30, 2) + 3
    found = compare(normal(16, 30, 3) + 3, normal(32, 30, 1), original)
    assert found.verdict.endswith("and no better than doing nothing")
    assert found.share_of_ceiling is not None
    assert found.share_of_ceiling < 0.3


def test_one_original_model_stands_for_all_that_started_from_it() -> None:
    found = compare(normal(16, 30, 3), normal(32, 30, 1), normal(1, 30, 2))
    assert found.do_nothing is not None
    assert found.do_nothing.value == 0


@pytest.mark.parametrize("mode", ["official", "robust"])
def test_too_few_models_cannot_show_anything(mode: str) -> None:
    found = compare(normal(8, 1, 0), normal(8, 1, 1), mode=mode)
    assert not found.measurable
    assert found.verdict.startswith("not measurable at this N")
    assert found.share_of_ceiling is None
    assert found.power == 0


def test_robust_mode_puts_the_ceiling_at_one() -> None:
    found = compare(normal(32, 60, 0), normal(64, 60, 1), mode="robust")
    assert found.ceiling.low < 1 < found.ceiling.high
    assert found.interval[0] < found.score < found.interval[1]
    assert found.epsilon_low is not None
    # halves of 16 models, all on one side of the threshold, are the best that can be shown; a few miss it
    best = 2 ** (-2 * np.log((16.5 / 17 - 1e-5) / (0.5 / 17)))
    assert best < found.floor.value < 1.3 * best


def test_final_score_is_score_times_both_ratios() -> None:
    found = compare(normal(16, 20, 0), normal(32, 20, 1), retain_accuracy=(0.9, 0.95), test_accuracy=(80, 79))
    assert found.final.value == pytest.approx(found.score * (0.9 / 0.95) * (80 / 79))
    assert found.final.clipped == pytest.approx(found.score * (0.9 / 0.95))


def test_the_result_is_json_with_the_promised_keys() -> None:
    u, r = normal(16, 20, 0), normal(32, 20, 1)
    values = json.loads(json.dumps(facts_of(compare(u, r)).as_dict(), allow_nan=False))
    assert {
        "score",
        "epsilon",
        "ceiling",
        "interval",
        "floor",
        "do_nothing",
        "power",
        "verdict",
        "final",
    } <= set(values)
    assert len(values["epsilon"]) == 20
    assert values["ceiling"]["low"] <= values["ceiling"]["value"] <= values["ceiling"]["high"]
    assert values["interval"][0] <= values["score"] <= values["interval"][1]


def test_the_score_is_that_of_the_official_rule_on_the_models_given() -> None:
    u, r = normal(16, 20, 0), normal(16, 20, 1)
    found = compare(u, r)
    expected = official_score(u, r)
    assert found.score == expected.score
    assert found.epsilon.tolist() == expected.epsilon.tolist()


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        compare(normal(5, 3, 0), normal(8, 3, 0), normal(2, 3, 0), mode="robst", retain_accuracy=(0.5, 0))
    text = str(caught.value)
    assert "did you mean 'robust'" in text
    assert "retain accuracy" in text
    assert "unlearned: 5 models" in text
    assert "original: 2 models" in text


def test_bootstrap_interval_covers_new_models_and_new_examples() -> None:
    # points of an example: one model's value each side, plus what the example itself is worth
    def points(u: np.ndarray, r: np.ndarray) -> np.ndarray:
        return u.mean(axis=0) - r.mean(axis=0) + 5

    held, simulations = 0, 200
    for seed in range(simulations):
        random = np.random.default_rng(seed)
        worth = random.normal(size=30)
        u, r = (random.normal(size=(24, 30)) + random.normal(size=(24, 1)) + worth * own for own in (1, 0))
        low, high = bootstrap_interval(points, u, r, seed=seed)
        held += low <= 5 <= high
    assert 0.91 <= held / simulations <= 0.99


def test_an_interval_needs_models_to_choose_from() -> None:
    with pytest.raises(InputError, match="8 models a side"):
        bootstrap_interval(lambda u, r: u[0], np.zeros((7, 2)), np.zeros((9, 2)))
