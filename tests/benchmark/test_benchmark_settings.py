"""What a benchmark compares, and the runs that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from efface.benchmark.classifiers.task import ClassifierBench
from efface.benchmark.config import (
    REFERENCE_METHOD,
    BenchConfig,
    entries,
    entry,
    read_bench,
    shared_runs,
    unlearned_runs,
)
from efface.errors import InputError
from efface.methods import CLASSIFIER_METHODS, ClassifierMethod
from efface.training.passes import Facts, Passes


def bench_config(*given: Any) -> BenchConfig:
    return read_bench(ClassifierBench, *given)


CONFIGS = Path(__file__).parents[2] / "benchmarks" / "configs"


@pytest.mark.parametrize("name", ["digits", "faces-age", "cifar10"])
def test_a_task_by_name_is_what_its_file_spells_out(name: str) -> None:
    assert bench_config(str(CONFIGS / f"{name}.yaml")) == bench_config(name)


def test_all_methods_are_compared_but_the_reference() -> None:
    found = [one.label for one in entries(bench_config("digits"))]
    assert found == [name for name in CLASSIFIER_METHODS if name != REFERENCE_METHOD]


def test_the_label_shows_settings_that_are_not_the_defaults() -> None:
    chosen: list[object] = ["fine-tune", {"name": "fine-tune", "learning_rate": 0.1}]
    found = entries(bench_config("digits", {"methods": chosen}))
    assert [one.label for one in found] == ["fine-tune", "fine-tune (learning_rate=0.1)"]
    assert found[1].section["learning_rate"] == 0.1


def test_all_wrong_methods_are_named_at_once() -> None:
    config = bench_config("digits", {"methods": ["fine-tun", "retrain", "nothing", "retrain"]})
    with pytest.raises(InputError) as caught:
        entries(config)
    text = str(caught.value)
    assert "did you mean 'fine-tune'" in text
    assert "'nothing'" in text
    assert "retrain stands there twice" in text


def test_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        bench_config("digits", {"models": 4, "engine": "procesess", "time_limit": 0})
    assert all(name in str(caught.value) for name in ("models", "processes", "time_limit"))


def test_an_unknown_task_and_a_file_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="digits"):
        bench_config("digist")
    file = tmp_path / "mine.yaml"
    file.write_text("models: 8\n", encoding="utf-8")
    with pytest.raises(InputError, match="names no task"):
        bench_config(str(file))


def test_values_win_over_the_file_and_overrides_over_both() -> None:
    path = str(CONFIGS / "digits.yaml")
    overrides = ["originals=5", "tuning.trials=9", "task.images.limit=100"]
    config = bench_config(path, {"models": 16, "originals": 2}, overrides)
    assert (config.models, config.originals, config.tasks["digits"].images.limit) == (16, 5, 100)
    assert config.tuning is not None
    assert (config.tuning.trials, config.tuning.models) == (9, 4)


def test_a_file_that_names_a_task_has_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("task: faces-age\nmodels: 8\n", encoding="utf-8")
    assert bench_config(str(file)) == bench_config("faces-age", {"models": 8})
    assert bench_config(str(file)).time_limit == 0.2
    file.write_text("task: faces-age\ntime_limit: null\n", encoding="utf-8")
    assert bench_config(str(file)).time_limit is None


def test_no_tuning_and_a_setting_of_it_exclude_each_other() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        bench_config("digits", {"tuning": None}, ["tuning.models=3"])
    # a task that is not tuned by itself can be
    tuned = bench_config("casia-surf", {}, ["tuning.models=3"]).tuning
    assert tuned is not None
    assert tuned.models == 3


def test_a_method_with_a_setting_that_must_be_given_has_a_row() -> None:
    class Needing(ClassifierMethod):
        strength: float = Field(gt=0)
        rounds: int = 3
        name: ClassVar[str] = "needing"
        summary: ClassVar[str] = "for a test"
        source: ClassVar[str] = "none"

        def passes(self, facts: Facts) -> Passes:
            return []

    with CLASSIFIER_METHODS.added(Needing):
        digits = bench_config("digits")
        assert entry(digits, {"name": "needing", "strength": 2}).label == "needing (strength=2.0)"
        assert (
            entry(digits, {"name": "needing", "strength": 2, "rounds": 4}).label
            == "needing (strength=2.0, rounds=4)"
        )


def test_the_headline_setup_is_always_among_the_setups_and_first() -> None:
    config = bench_config("digits", {"setups": ["bootstrap"]})
    assert config.all_setups == ("reuse-n-1", "bootstrap")


def test_setups_share_their_runs() -> None:
    config = bench_config("digits", {"models": 8, "originals": 3})
    shared = shared_runs(config, config.all_setups)
    kinds = [run.kind for run in shared]
    # originals 0 to 7 of reuse-n-n hold 0 to 2 of reuse-n-1; twice as many models are retrained as unlearned
    assert (kinds.count("original"), kinds.count("retrained")) == (8, 16)
    section = {"name": "fine-tune"}
    # three originals with 8 seeds, and seed 0 of the five originals that are not among them
    assert len(unlearned_runs(config, config.all_setups, section)) == 3 * 8 + 5
    assert len(unlearned_runs(config, ["reuse-n-1", "reuse-n-n"], section)) == 3 * 8 + 5
