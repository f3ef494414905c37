"""The same budget for every method, draws by key, and the number by which a trial is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pytest
from pydantic import Field

from efface.benchmark.benchmark import (
    Entry,
    TuningSettings,
    bench_config,
    entry,
    shared_runs,
    tuning_reference_runs,
    tuning_starts,
)
from efface.benchmark.tuning import Tried, best, forgetting, objective, trials
from efface.methods import CLASSIFIER_METHODS, ClassifierMethod
from efface.training.passes import Facts, Passes

BUDGET = TuningSettings(trials=40, models=2, references=4)


class Counted(ClassifierMethod):
    """A method with a whole number to tune."""

    rounds: int = Field(2, ge=1)
    name: ClassVar[str] = "counted"
    summary: ClassVar[str] = "for a test"
    source: ClassVar[str] = "none"
    space: ClassVar[Mapping[str, tuple[float, float]]] = {"rounds": (1, 5)}

    def passes(self, facts: Facts) -> Passes:
        return []


@pytest.fixture
def counted() -> Iterator[Entry]:
    with CLASSIFIER_METHODS.added(Counted):
        yield entry({"name": "counted"})


def test_the_first_trial_is_as_published() -> None:
    one = entry({"name": "fine-tune"})
    assert trials(one, BUDGET)[0].section == one.section == {"name": "fine-tune", **one.method.as_dict()}


def test_every_method_with_a_space_gets_the_same_number_of_trials(counted: Entry) -> None:
    assert len(trials(counted, BUDGET)) == BUDGET.trials


def test_a_method_without_a_space_is_not_tuned() -> None:
    assert trials(entry({"name": "retrain"}), BUDGET) == []


def test_draws_stay_in_their_range_and_spread_on_a_logarithmic_scale() -> None:
    rates = [trial.section["learning_rate"] for trial in trials(entry({"name": "fine-tune"}), BUDGET)[1:]]
    low, high = 1e-3, 0.3
    assert all(low <= rate <= high for rate in rates)
    below = np.mean(np.array(rates) < np.sqrt(low * high))
    assert 0.25 < below < 0.75


def test_whole_numbers_stay_whole_and_reach_both_ends(counted: Entry) -> None:
    values = [trial.section["rounds"] for trial in trials(counted, BUDGET)[1:]]
    assert all(type(value) is int for value in values)
    assert {1, 5} <= set(values) <= {1, 2, 3, 4, 5}


def test_draws_follow_from_seed_method_and_trial_alone() -> None:
    one = entry({"name": "fine-tune"})
    few, more = trials(one, TuningSettings(trials=3)), trials(one, TuningSettings(trials=5))
    assert [trial.section for trial in few] == [trial.section for trial in more[:3]]
    other = trials(one, TuningSettings(trials=3, seed=1))
    assert other[0].section == few[0].section
    assert other[1].section != few[1].section


def test_each_trial_starts_from_originals_of_its_own_and_forgets_the_other_set() -> None:
    runs = trials(entry({"name": "fine-tune"}), BUDGET)[1].runs([3, 4, 5])
    assert [(run.start, run.seed, run.purpose) for run in runs] == [
        (start, 0, "tuning") for start in (3, 4, 5)
    ]


def test_trials_start_from_originals_that_are_not_scored() -> None:
    config = bench_config("digits", {"originals": 3})
    assert list(tuning_starts(config)) == [3, 4, 5, 6]
    kinds = [(run.kind, run.purpose) for run in tuning_reference_runs(config)]
    assert (kinds.count(("original", "score")), kinds.count(("retrained", "tuning"))) == (4, 16)
    # the pool of reuse-n-n has them, so that they cost nothing
    assert set(tuning_reference_runs(config)[:4]) <= set(shared_runs(config, ["reuse-n-n"]))


def test_the_number_by_hand() -> None:
    # E|U - R| = 1.5, both other means are 1: H = (3 - 1 - 1) / 3
    unlearned, retrained = [[0.0], [2.0]], [[1.0], [3.0]]
    assert forgetting(unlearned, retrained) == pytest.approx(2 / 3)
    assert objective(unlearned, retrained, 0.5, 1.2) == pytest.approx(1 / 3)


def test_one_law_scores_one_and_two_points_nothing() -> None:
    same = [[1.0, 4.0], [2.0, 4.0]]
    assert forgetting(same, same) == 1
    assert forgetting([[0.0], [0.0]], [[5.0], [5.0]]) == 0


def test_the_number_still_falls_where_all_models_are_told_apart() -> None:
    draws = np.random.default_rng(0)
    retrained = draws.normal(0, 1, (16, 30))
    values = [forgetting(draws.normal(shift, 1, (4, 30)), retrained) for shift in (0, 6, 12)]
    assert values[0] > values[1] > values[2]


def test_the_earliest_of_equals_wins_and_failed_trials_never() -> None:
    made = trials(entry({"name": "fine-tune"}), TuningSettings(trials=4))
    numbers = [None, 0.4, 0.7, 0.7]
    tried = [Tried(trial, number) for trial, number in zip(made, numbers, strict=True)]
    assert best(tried) == tried[2]
    assert best(tried[:1]) is None
