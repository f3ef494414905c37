"""A whole benchmark on few digits: its files, its costs, methods of other packages, failures, and going on."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

import efface
from efface.benchmark.classifiers.kind import CLASSIFIERS
from efface.benchmark.classifiers.task import ClassifierBench, ClassifierTask
from efface.benchmark.costing import time_steps
from efface.benchmark.engines import InLineEngine, Outcome, engine_named
from efface.benchmark.results import BenchRow, read_bench_results
from efface.documents import yaml_text
from efface.errors import InputError, RunRefused, Stopped
from efface.jobs.bench import BenchOutcome, bench, estimate, idle_gpu
from efface.methods import CLASSIFIER_METHODS, ClassifierMethod
from efface.training.passes import Edit, Facts, Passes

TASK = {
    "images": {"data": "digits", "limit": 60},
    "network": {"network": "small-conv", "width": 2},
    "recipe": {"epochs": 1, "learning_rate": 0.005, "weight_decay": 0.0, "class_weights": False},
}
VALUES: dict[str, Any] = {
    "task": TASK,
    "methods": [{"name": "fine-tune", "epochs": 1}, "halving", "refusing"],
    "models": 8,
    "originals": 2,
    "setups": ["reuse-n-1", "reuse-n-n", "bootstrap"],
    "tuning": {"trials": 2, "models": 2, "references": 4},
    "time_limit": 50.0,
    "engine": "in-line",
}


DIGITS = ClassifierTask.from_values(TASK)
FINE_TUNE = '{"name":"fine-tune"}'


class Halving(ClassifierMethod):
    """A method of another package: all weights are made smaller."""

    factor: float = Field(0.5, gt=0)
    name: ClassVar[str] = "halving"
    summary: ClassVar[str] = "for a test"
    source: ClassVar[str] = "none"
    deterministic: ClassVar[bool] = True

    def passes(self, facts: Facts) -> Passes:
        def shrink(work: Any) -> None:
            for parameter in work.model.parameters():
                parameter.mul_(self.factor)

        return [Edit("shrink", shrink)]


class Refusing(ClassifierMethod):
    """A method of another package that refuses every model, and has settings to tune."""

    factor: float = Field(1.0, gt=0)
    name: ClassVar[str] = "refusing"
    summary: ClassVar[str] = "for a test"
    source: ClassVar[str] = "none"
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.1, 10)}

    def passes(self, facts: Facts) -> Passes:
        def refuse(work: Any) -> None:
            raise InputError("refusing needs a network with wings")

        return [Edit("refuse", refuse)]


@pytest.fixture(scope="module", autouse=True)
def other_package() -> Iterator[None]:
    with CLASSIFIER_METHODS.added(Halving, Refusing):
        yield


def config(**others: Any) -> ClassifierBench:
    values = {**VALUES, **others}
    tasks = {"digits": values.pop("task")}
    return ClassifierBench.read({**values, "tasks": tasks})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> BenchOutcome:
    """Tests must not change its folder."""
    return bench(config(), tmp_path_factory.mktemp("bench") / "out")


@pytest.fixture
def copied(finished: BenchOutcome, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.out, tmp_path / "out"))


def rows(result: BenchOutcome) -> list[BenchRow]:
    return result.results.tasks["digits"].tables[0].rows


def row(result: BenchOutcome, label: str, settings: str = "default") -> BenchRow:
    # where the default settings were the best, one row stands for both
    (found,) = [one for one in rows(result) if one.label == label and settings in one.settings.split(" = ")]
    return found


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in (folder / "pools").rglob("*.npz")
    }


def test_all_files_are_there_and_hold_the_same_numbers(finished: BenchOutcome) -> None:
    assert read_bench_results(finished.out) == finished.results
    lines = list(csv.DictReader((finished.out / "results.csv").read_text(encoding="utf-8").splitlines()))
    fine_tune = row(finished, "fine-tune (epochs=1.0)")
    wanted = ("fine-tune (epochs=1.0)", fine_tune.settings, "robust")
    (line,) = [one for one in lines if (one["row"], one["settings"], one["measure"]) == wanted]
    assert float(line["high"]) == fine_tune.measures["robust"].high
    for name in ("report.html", "results.md", "config.yaml", "cost.json"):
        assert (finished.out / name).stat().st_size > 0


def test_a_row_is_the_mean_of_its_experiments(finished: BenchOutcome) -> None:
    found = row(finished, "fine-tune (epochs=1.0)")
    assert (found.experiments, found.runs, found.failed, found.cut) == (2, 16, 0, 0)
    p = found.measures["p"]  # Bonferroni's
    assert p.value == pytest.approx(min(1, 2 * min(p.each)))
    means = {name: measure for name, measure in found.measures.items() if measure.each and name != "p"}
    assert {"official", "robust", "shift"} <= set(means)
    for name, measure in means.items():
        assert measure.value == pytest.approx(sum(measure.each) / 2), name
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low <= measure.value <= measure.high, name


def test_a_method_of_another_package_stands_in_the_same_table(finished: BenchOutcome) -> None:
    found = row(finished, "halving")
    assert found.deterministic is True
    # all runs from one original are alike, which the competition's rule takes for total separation
    assert found.measures["official"].value == 0
    assert found.measures["time_share"].value < 1


def test_a_method_that_fails_has_a_row_with_its_reason(finished: BenchOutcome) -> None:
    default, tuned = row(finished, "refusing"), row(finished, "refusing", "tuned")
    assert (default.failed, default.runs, default.measures) == (16, 16, {})
    assert "a network with wings" in str(default.reason)
    assert str(tuned.reason).startswith("all 2 trials failed: 2 of 2 runs failed: ")
    page = (finished.out / "report.html").read_text(encoding="utf-8")
    assert "a network with wings" in page
    for one in (default, tuned):
        assert (finished.out / str(one.failure_file)).is_file()
        assert str(one.failure_file) in page


def test_lasting_failures_are_tried_again_on_wish_alone(copied: Path) -> None:
    before = files(copied)
    mended = {"tuning": None, "setups": ["reuse-n-1"], "methods": ["refusing"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Refusing, "passes", lambda self, facts: [Edit("nothing", lambda work: None)])
        kept = bench(config(**mended), copied)
        assert row(kept, "refusing").failed == 16
        again = bench(config(**mended), copied, retry_failed=True)
    assert row(again, "refusing").failed == 0
    assert row(again, "refusing").failure_file is None
    assert len(files(copied)) == len(before) + 16
    lines = [json.loads(line) for line in (copied / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    (removed,) = [line for line in lines if line["event"] == "failures removed"]
    assert len(removed["files"]) == 22 + 2 * 2


def test_every_method_has_both_scores_in_every_setup(finished: BenchOutcome) -> None:
    setups = finished.results.tasks["digits"].setups
    found = row(finished, "fine-tune (epochs=1.0)")
    for mode in ("official", "robust"):
        scores = {setup: one.scores[mode] for setup, one in setups.items()}  # type: ignore[index]
        assert scores["reuse-n-1"]["fine-tune (epochs=1.0)"] == found.measures[mode].each
        assert {setup: len(one["halving"]) for setup, one in scores.items()} == {
            "reuse-n-1": 2, "reuse-n-n": 1, "bootstrap": 2
        }  # fmt: skip
        assert all(one["refusing"] == [] for one in scores.values())


def test_models_of_another_kind_have_no_place_in_orders(copied: Path) -> None:
    asked = config(methods=["halving", {"name": "halving", "factor": 0.9}], tuning=None, setups=["reuse-n-1"])
    both = bench(asked, copied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Halving, "like_for_like", False, raising=False)
        none = bench(asked, copied)
    tasks = [one.results.tasks["digits"] for one in (both, none)]
    assert [one.methods for one in tasks[0].agreements] == [2, 2]
    assert {one.methods for one in tasks[1].agreements} == {0}
    assert "no like for like" in none.page.read_text(encoding="utf-8")
    assert [row(one, "halving").like_for_like for one in (both, none)] == [True, False]
    assert tasks[0].setups == tasks[1].setups


def test_an_estimate_for_a_cluster_needs_a_folder_that_its_machines_see() -> None:
    with pytest.raises(InputError, match="needs a folder for the estimate too"):
        estimate(config(engine="slurm:short"))


def test_the_timing_that_is_kept_is_of_the_same_engine(tmp_path: Path) -> None:
    for engine in (InLineEngine(), InLineEngine(), Slower()):
        time_steps(tmp_path, DIGITS, CLASSIFIERS, [FINE_TUNE], engine)
    assert len(list(tmp_path.glob("timing-*.json"))) == 2


def test_a_timing_that_does_not_arrive_is_said(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="shared one"):
        time_steps(tmp_path, DIGITS, CLASSIFIERS, [FINE_TUNE], Losing())


class Slower(InLineEngine):
    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "threads": 1}


class Losing(InLineEngine):
    def _run_once(self, function, tasks, done, deaths):  # type: ignore[no-untyped-def, override]
        yield from (Outcome(task) for task in tasks)


def test_a_gpu_that_lies_idle_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {
        name: engine_named(name) for name in ("processes:2", "processes:2@cuda:0", "ray", "ray@gpu=0.5")
    }
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    notes = {name: idle_gpu(engine) for name, engine in engines.items()}
    assert "processes:6@cuda:0" in (notes["processes:2"] or "")
    assert "ray@gpu=0.25" in (notes["ray"] or "")
    assert notes["processes:2@cuda:0"] is notes["ray@gpu=0.5"] is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert idle_gpu(engines["processes:2"]) is None


def test_doing_nothing_and_retraining_are_rows_of_the_table(finished: BenchOutcome) -> None:
    original, retrained = row(finished, "original", "reference"), row(finished, "retrained", "reference")
    assert original.measures["official"].value == 0
    assert retrained.measures["official"].value > 0
    assert len(original.measures["robust"].each) == 2


def test_the_cost_before_is_what_was_run_after(finished: BenchOutcome) -> None:
    cost = finished.results.cost
    assert json.loads((finished.out / "cost.json").read_text(encoding="utf-8")) == cost.as_dict()
    before, after = cost.before, cost.after
    assert after is not None
    failed = len(list((finished.out / "pools").rglob("*.failed.json")))
    counted = {name: before.parts[name].unlearned for name in ("default", "tuning")}
    ran = {name: after.parts[name].unlearned for name in counted}
    # 16 + 6 of two experiments from two originals and one from eight, for two methods; the deterministic one is
    # run once for each of the eight originals; trials of two methods
    assert counted == {"default": 2 * 22 + 8, "tuning": 2 * 2 * 2}
    assert sum(ran.values()) + failed == sum(counted.values())
    assert after.parts["tuned"].unlearned <= before.parts["tuned_at_most"].unlearned
    assert (after.total.originals, after.total.retrained) == (before.total.originals, before.total.retrained)
    assert len(files(finished.out)) == after.total.originals + after.total.retrained + after.total.unlearned
    assert 0 < after.total.seconds < cost.wall_seconds


def test_every_trial_is_written_down(finished: BenchOutcome) -> None:
    tuned = finished.results.tasks["digits"].tuning
    assert set(tuned) == {"fine-tune (epochs=1.0)", "refusing"}
    assert all(len(one.trials) == 2 for one in tuned.values())
    chosen = tuned["fine-tune (epochs=1.0)"]
    objectives = [one.objective or 0.0 for one in chosen.trials]
    assert chosen.chosen == objectives.index(max(objectives))
    expected = chosen.trials[chosen.chosen].section
    assert row(finished, "fine-tune (epochs=1.0)", "tuned").section == expected
    assert tuned["refusing"].chosen is None
    # one row where the default settings won, or else what is one and the same would stand there twice
    settings = {one.settings for one in rows(finished) if one.label.startswith("fine-tune")}
    assert settings == ({"default = tuned"} if chosen.chosen == 0 else {"default", "tuned"})


def test_trials_start_from_originals_that_the_headline_does_not_score(finished: BenchOutcome) -> None:
    places = (finished.out / "pools" / "digits" / "tuning" / "unlearned").rglob("from-*")
    assert {place.name for place in places} == {"from-2", "from-3"}


def test_what_is_missing_is_redone_and_nothing_else(finished: BenchOutcome, copied: Path) -> None:
    before = files(copied)
    lost = next(name for name in before if "/unlearned/fine-tune" in name and "/score/" in name)
    (copied / lost).unlink()
    again = bench(config(), copied)
    changed = {name for name, when in files(copied).items() if before[name] != when}
    assert changed == {lost}
    scores = [
        {name: one.each for name, one in row(result, "fine-tune (epochs=1.0)").measures.items()}
        for result in (finished, again)
    ]
    for one in scores:
        del one["time_share"]
    assert scores[0] == scores[1]


def test_more_methods_add_to_what_is_there(copied: Path) -> None:
    before = files(copied)
    methods = ["halving", {"name": "halving", "factor": 0.9}]
    again = bench(config(methods=methods, tuning=None, setups=["reuse-n-1"]), copied)
    after = files(copied)
    assert all(after[name] == when for name, when in before.items())
    assert len(after) == len(before) + 2  # halving is deterministic: one run for each of two originals
    assert {one.label for one in rows(again)} == {
        "original", "retrained", "halving", "halving (factor=0.9)"
    }  # fmt: skip


def test_another_limit_or_another_task_is_refused_in_the_same_folder(copied: Path) -> None:
    before = (copied / "config.yaml").read_text(encoding="utf-8"), files(copied)
    with pytest.raises(RunRefused, match=r"time limit 50.0, not 0.5"):
        bench(config(time_limit=0.5, models=9), copied)
    # said before anything is written over or trained
    assert ((copied / "config.yaml").read_text(encoding="utf-8"), files(copied)) == before
    with pytest.raises(RunRefused, match="another task"):
        bench(config(task={**TASK, "images": {"data": "digits", "limit": 61}}), copied)


def test_a_limit_cuts_and_says_so(copied: Path) -> None:
    shutil.rmtree(copied / "pools" / "digits" / "score" / "unlearned")
    (copied / "pools" / "digits" / "limit.json").unlink()
    methods = [{"name": "fine-tune", "epochs": 40}]
    found = bench(
        config(methods=methods, tuning=None, time_limit=0.01, originals=1, setups=["reuse-n-1"]), copied
    )
    (cut,) = [one for one in rows(found) if one.settings == "default"]
    assert (cut.cut, cut.runs) == (8, 8)
    assert cut.measures["official"].low is None
    assert "cut at the limit in 8 of 8 runs" in (copied / "report.html").read_text(encoding="utf-8")


def test_an_estimate_trains_nothing(tmp_path: Path) -> None:
    found = estimate(config(), tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert found.parts["default"].unlearned == 2 * 22 + 8
    assert found.total.seconds > 0


def test_python_runs_the_same_benchmark(tmp_path: Path) -> None:
    settings = {**VALUES, "methods": ["halving"], "tuning": None, "setups": ["reuse-n-1"]}
    task = settings.pop("task")
    (tmp_path / "task.yaml").write_text(yaml_text({"task": task}), encoding="utf-8")
    result = efface.bench(tmp_path / "task.yaml", out=tmp_path / "out", **settings)
    assert [row.label for row in rows(result)].count("halving") == 1
    assert result.page.exists()
