"""The setups share what they say they share, and what they cost is what their runs count."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import SETUPS, Experiment, count_of, experiments

METHOD = {"name": "fine-tune", "epochs": 2.0}
N, E = 4, 3


def counted(runs: list[PoolRun]) -> tuple[int, int, int]:
    found = count_of(runs, lambda run: 2.0)
    assert found.seconds == 2.0 * (found.originals + found.retrained + found.unlearned)
    return found.originals, found.retrained, found.unlearned


def all_runs(found: list[Experiment]) -> list[PoolRun]:
    return [run for experiment in found for run in experiment.runs]


@pytest.mark.parametrize("setup", SETUPS)
def test_every_experiment_sets_n_against_twice_as_many(setup: Any) -> None:
    found = experiments(setup, METHOD, N, E)
    assert len(found) == E
    for experiment in found:
        assert len(experiment.unlearned) == N
        assert len(experiment.retrained) == 2 * N
        starts = {run.start for run in experiment.unlearned}
        assert starts == {run.seed for run in experiment.original}
        assert all(run.section == METHOD for run in experiment.unlearned)


def test_full_experiments_share_nothing() -> None:
    found = experiments("full", METHOD, N, E)
    for one, other in combinations(found, 2):
        assert not set(one.runs) & set(other.runs)
    assert counted(all_runs(found)) == (E * N, E * 2 * N, E * N)
    for experiment in found:
        assert len({run.start for run in experiment.unlearned}) == N


def test_reuse_n_n_shares_originals_and_retrained_models() -> None:
    found = experiments("reuse-n-n", METHOD, N, E)
    assert len({experiment.original for experiment in found}) == 1
    assert len({experiment.retrained for experiment in found}) == 1
    assert counted(all_runs(found)) == (N, 2 * N, E * N)


def test_reuse_n_1_starts_all_from_one_original() -> None:
    found = experiments("reuse-n-1", METHOD, N, E)
    assert [len(experiment.original) for experiment in found] == [1] * E
    assert [experiment.original[0].seed for experiment in found] == list(range(E))
    assert all(len(set(experiment.unlearned)) == N for experiment in found)
    assert counted(all_runs(found)) == (E, 2 * N, E * N)


def test_the_bootstrap_costs_no_more_than_one_experiment_and_repeats_with_its_seed() -> None:
    found = experiments("bootstrap", METHOD, N, 20)
    pool = experiments("reuse-n-n", METHOD, N, 1)[0]
    assert set(all_runs(found)) <= set(pool.runs)
    assert found == experiments("bootstrap", METHOD, N, 20)
    assert found != experiments("bootstrap", METHOD, N, 20, seed=1)
    assert any(len(set(experiment.unlearned)) < N for experiment in found)


def test_methods_share_originals_and_retrained_models() -> None:
    runs = [
        run
        for method in (METHOD, {"name": "ct"})
        for setup in ("reuse-n-n", "reuse-n-1")
        for run in all_runs(experiments(setup, method, N, E))  # type: ignore[arg-type]
    ]
    # reuse-n-n: 12 unlearned a method; reuse-n-1 adds 12, of which three are the same (seed 0..2 from 0..2)
    shared = {(start, seed) for start in range(N) for seed in range(E)} & {
        (start, seed) for start in range(E) for seed in range(N)
    }
    assert counted(runs) == (N, 2 * N, 2 * (2 * E * N - len(shared)))


def test_runs_have_places_of_their_own_and_seeds_that_no_setting_changes() -> None:
    runs = [
        PoolRun("original", 0),
        PoolRun("retrained", 0),
        PoolRun("retrained", 0, purpose="tuning"),
        PoolRun.unlearned(METHOD, 0, 0),
        PoolRun.unlearned(METHOD, 0, 0, "tuning"),
        PoolRun.unlearned({**METHOD, "epochs": 3.0}, 0, 0),
        PoolRun.unlearned(METHOD, 1, 0),
        PoolRun.unlearned(METHOD, 0, 1),
    ]
    assert len({(run.family, run.start, run.seed) for run in runs}) == len(runs)
    # another setting of a method is another run, and no other chance
    assert runs[3].key == runs[5].key
    assert len({run.key for run in runs}) == len(runs) - 1
    assert PoolRun.unlearned({"epochs": 2.0, "name": "fine-tune"}, 0, 0) == PoolRun.unlearned(METHOD, 0, 0)


def test_a_deterministic_method_is_run_once_for_each_original() -> None:
    for setup, runs in (("reuse-n-1", E), ("reuse-n-n", N), ("full", E * N)):
        found = experiments(setup, METHOD, N, E, deterministic=True)  # type: ignore[arg-type]
        assert counted(all_runs(found))[2] == runs
        assert all(len(experiment.unlearned) == N for experiment in found)
