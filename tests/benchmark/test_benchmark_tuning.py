"""The same budget for every method, draws by key, and the number by which a trial is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pytest
from pydantic import Field

from efface.benchmark.classifiers.task import ClassifierBench
from efface.benchmark.config import (
    BenchConfig,
    MethodEntry,
    entries,
    read_bench,
    shared_runs,
)
from efface.benchmark.config import entry as entry_of
from efface.benchmark.results import TrialOutcome
from efface.benchmark.runs import PoolRun
from efface.benchmark.tuning import best, forgetting, objective, reference_runs, trials, tuning_runs
from efface.methods import CLASSIFIER_METHODS, ClassifierMethod
from efface.training.passes import Facts, Passes


def tuned(**budget: int) -> BenchConfig:
    return read_bench(ClassifierBench, "digits", {"tuning": budget})


BUDGET = tuned(trials=40, models=2, references=4)
TRIALS = 40


def entry(section: dict[str, object]) -> MethodEntry:
    return entry_of(BUDGET, section)


class Counted(ClassifierMethod):
    """A method with a whole number to tune."""

    rounds: int = Field(2, ge=1)
    name: ClassVar[str] = "counted"
    summary: ClassVar[str] = "for a test"
    source: ClassVar[str] = "none"
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"rounds": (1, 5)}

    def passes(self, facts: Facts) -> Passes:
        return []


@pytest.fixture
def counted() -> Iterator[MethodEntry]:
    with CLASSIFIER_METHODS.added(Counted):
        yield entry({"name": "counted"})


def test_the_first_trial_has_the_default_settings() -> None:
    one = entry({"name": "fine-tune"})
    assert trials(one, BUDGET)[0].section == one.section == {"name": "fine-tune", **one.method.as_dict()}


def test_every_method_with_a_space_gets_the_same_number_of_trials(counted: MethodEntry) -> None:
    assert len(trials(counted, BUDGET)) == TRIALS


def test_a_method_without_a_space_is_not_tuned() -> None:
    assert trials(entry({"name": "retrain"}), BUDGET) == []


def test_draws_stay_in_their_range_and_spread_on_a_logarithmic_scale() -> None:
    rates = [trial.section["learning_rate"] for trial in trials(entry({"name": "fine-tune"}), BUDGET)[1:]]
    low, high = 1e-3, 0.3
    assert all(low <= rate <= high for rate in rates)
    below = np.mean(np.array(rates) < np.sqrt(low * high))
    assert 0.25 < below < 0.75


def test_whole_numbers_stay_whole_and_reach_both_ends(counted: MethodEntry) -> None:
    values = [trial.section["rounds"] for trial in trials(counted, BUDGET)[1:]]
    assert all(type(value) is int for value in values)
    assert {1, 5} <= set(values) <= {1, 2, 3, 4, 5}


def test_draws_follow_from_seed_method_and_trial_alone() -> None:
    one = entry({"name": "fine-tune"})
    few, more = trials(one, tuned(trials=3)), trials(one, tuned(trials=5))
    assert [trial.section for trial in few] == [trial.section for trial in more[:3]]
    other = trials(one, tuned(trials=3, seed=1))
    assert other[0].section == few[0].section
    assert other[1].section != few[1].section


def test_each_trial_starts_from_originals_of_its_own_and_forgets_the_other_set() -> None:
    runs = trials(entry({"name": "fine-tune"}), BUDGET)[1].runs(tuned(models=3))
    assert [(run.start, run.seed, run.purpose) for run in runs] == [
        (start, 0, "tuning") for start in (3, 4, 5)
    ]


def test_trials_start_from_originals_that_are_not_scored() -> None:
    config = read_bench(ClassifierBench, "digits", {"originals": 3, "methods": ["fine-tune"]})
    runs = tuning_runs(config, entries(config))
    originals = [run for run in runs if run.kind == "original"]
    assert [run.seed for run in originals] == [3, 4, 5, 6]
    retrained = [PoolRun("retrained", place, purpose="tuning") for place in range(16)]
    assert [run for run in runs if run.kind == "retrained"] == reference_runs(config) == retrained
    # the pool of reuse-n-n has them, so that they cost nothing
    assert set(originals) <= set(shared_runs(config, ["reuse-n-n"]))


def test_where_nothing_can_be_tuned_nothing_is_trained_for_it() -> None:
    config = read_bench(ClassifierBench, "digits", {"methods": ["retrain"]})
    assert tuning_runs(config, entries(config)) == []


def test_the_number_by_hand() -> None:
    # E|U - R| = 1.5, both other means are 1: H = (3 - 1 - 1) / 3
    unlearned, retrained = [[0.0], [2.0]], [[1.0], [3.0]]
    assert forgetting(unlearned, retrained) == pytest.approx(2 / 3)
    assert objective(unlearned, retrained, {"retain": 0.5, "test": 1.2}) == pytest.approx(1 / 3)


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
    tried = [
        TrialOutcome(number=place, section={}, objective=number)
        for place, number in enumerate((None, 0.4, 0.7, 0.7))
    ]
    assert best(tried) == tried[2]
    assert best(tried[:1]) is None
