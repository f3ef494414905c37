"""The numbers of a row: worked by hand, or against models whose law is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from efface.benchmark.classifiers.reading import (
    MEASURES,
    PoolAnswers,
    measures_against,
    measures_of,
    u_lira_auc,
)
from efface.benchmark.reading import TaskReader, estimate, levels_of, relative_measures
from efface.benchmark.results import Estimate
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import Experiment, experiments
from efface.forgetting.comparison import compare
from efface.forgetting.official import official_score
from efface.randomness import numpy_draws

EXAMPLES = 12


def sides(models: int, mean: float, seed: int, accuracy: float = 1.0, seconds: float = 2.0) -> PoolAnswers:
    """Models whose confidences are normal around `mean`, and who are right on a share of all examples."""
    draws = np.random.default_rng(seed)
    confidence = {name: draws.normal(mean, 1.5, (models, EXAMPLES)) for name in ("forget", "retain", "test")}
    right = np.broadcast_to(np.arange(EXAMPLES) < accuracy * EXAMPLES, (models, EXAMPLES)).astype(np.float64)
    return PoolAnswers(confidence, dict.fromkeys(confidence, right), seconds)


def test_an_interval_is_students_t_over_the_experiments() -> None:
    found = estimate([1.0, 2.0, 3.0], 0.95, least=0.0)
    # t(0.975; 2) = 4.3027, spread 1 / sqrt(3)
    assert found.value == 2
    assert found.high == pytest.approx(2 + 4.302653 / np.sqrt(3), rel=1e-6)
    assert found.low == 0
    alone = estimate([0.2], 0.95)
    assert (alone.value, alone.low, alone.high, alone.each) == (0.2, None, None, [0.2])


def test_a_row_has_every_measure() -> None:
    found = measures_of(sides(8, 0, 0), sides(16, 0, 1), 0)
    relative = {measure.name for measure in relative_measures("")}
    assert set(found) == {measure.name for measure in MEASURES} - relative
    assert all(np.isfinite(value) for value in found.values())


def test_relative_tests_place_models_between_originals_and_retrained_ones() -> None:
    means = {"original": 3.0, "retrained": 0.0, "unlearned": 1.0}

    def stacked(runs: Sequence[PoolRun]) -> np.ndarray:
        draws = (numpy_draws(run.kind, run.start, run.seed) for run in runs)
        return np.stack(
            [one.normal(means[run.kind], 1, EXAMPLES) for one, run in zip(draws, runs, strict=True)]
        )

    def relative(experiment: Experiment) -> dict[str, Estimate]:
        reader: Any = SimpleNamespace(stacked=stacked, config=SimpleNamespace(confidence=0.95, seed=0))
        return TaskReader.relative(reader, experiment)

    full, shared = (experiments(setup, {"name": "ct"}, 12, 1)[0] for setup in ("full", "reuse-n-1"))
    found = relative(full)
    assert found["closer"].low > 0
    assert found["closer_p"].value < 0.05
    nothing = relative(replace(full, unlearned=full.original))
    assert nothing["closer"].high < 0
    assert nothing["beyond_p"].value < found["beyond_p"].value <= 1
    again = relative(replace(full, unlearned=full.retrained[12:]))
    assert set(again) == {"closer", "closer_p"}
    assert again["closer"].value > found["closer"].value
    assert relative(shared) == {}


def test_scores_are_means_over_both_halves_of_the_retrained_models() -> None:
    unlearned, retrained = sides(8, 1, 0), sides(16, 0, 1)
    values = [official_score(unlearned.confidence["forget"], retrained.confidence["forget"][part]).score
              for part in (slice(0, 8), slice(8, 16))]  # fmt: skip
    assert measures_of(unlearned, retrained, 0)["official"] == pytest.approx(np.mean(values))


def test_the_final_score_is_the_product_of_its_parts() -> None:
    found = measures_against(sides(8, 0, 0, accuracy=1.0), sides(8, 0, 1, accuracy=0.5), 0)
    assert (found["retain_ratio"], found["test_ratio"]) == (2.0, 2.0)
    assert found["final"] == pytest.approx(4 * found["official"])
    assert found["final_clipped"] == pytest.approx(found["official"])


def test_time_is_a_share_of_a_retraining() -> None:
    assert measures_against(sides(8, 0, 0, seconds=0.5), sides(8, 0, 1, seconds=2), 0)["time_share"] == 0.25


def test_u_lira_is_a_coin_for_one_law_and_sure_for_two() -> None:
    draws = np.random.default_rng(0)
    one, other = draws.normal(0, 1, (2, 32, 40))
    assert u_lira_auc(one, other, 0) == pytest.approx(0.5, abs=0.05)
    assert u_lira_auc(one + 20, other, 0) == 1


def test_forgetting_less_scores_less_on_every_measure() -> None:
    retrained = sides(32, 0, 9)
    near, far = (measures_of(sides(16, mean, 1), retrained, 0) for mean in (0, 6))
    assert near["official"] > far["official"]
    assert near["robust"] > far["robust"]
    for name in ("ks", "ks_significant", "klom_forget", "u_lira", "shift", "epsilon_90", "shown"):
        assert near[name] < far[name], name
    assert near["p"] > 0.05 > far["p"] >= 0.001


def test_levels_are_those_of_retrained_models_alone() -> None:
    retrained = sides(32, 0, 0)
    half, whole = retrained.half(True).confidence["forget"], retrained.confidence["forget"]
    found = {mode: levels_of(compare(half, whole, mode=mode)) for mode in ("official", "robust")}
    assert found["official"].models == 16
    assert found["robust"].ceiling.value == pytest.approx(1, abs=0.25)
    assert found["official"].ceiling.value > found["official"].floor.value == 0


def test_models_that_differ_by_rounding_alone_are_alike() -> None:
    one = sides(1, 0, 0)
    noise = np.random.default_rng(1).uniform(-1e-5, 1e-5, (8, EXAMPLES))
    same = {name: values + noise for name, values in one.confidence.items()}
    assert PoolAnswers(same, one.correct, 1.0).alike
    assert not sides(8, 0, 0).alike
    # what differs on the retain set alone differs
    assert not PoolAnswers({**same, "retain": sides(8, 0, 0).confidence["retain"]}, one.correct, 1.0).alike
