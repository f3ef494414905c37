"""`efface bench classifiers` on the command line: what it reads, what it refuses, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from efface.benchmark.results import read_bench_results
from efface.cli import app
from efface.documents import yaml_text
from efface.errors import InputError
from efface.reports.bench_tables import cell

CONFIG = {
    "task": {
        "images": {"data": "digits", "limit": 40},
        "network": {"network": "small-conv", "width": 2},
        "recipe": {"epochs": 1, "class_weights": False},
    },
    "methods": ["fine-tune"],
    "tuning": None,
    "setups": ["reuse-n-1"],
    "engine": "in-line",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text(yaml_text(CONFIG), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "classifiers", *(str(one) for one in arguments)])


def problem(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def test_a_short_benchmark_prints_its_table_and_names_its_files(config: Path, tmp_path: Path) -> None:
    done = run(
        config, "--out", tmp_path / "out", "--models", 8, "--originals", 1, "--methods", "retrain,fine-tune"
    )
    assert done.exit_code == 0, done.output
    results = read_bench_results(tmp_path / "out")
    found = results.tasks["digits"].tables[0].rows
    official = next(measure for measure in results.measures if measure.name == "official")
    rows = (["retrain", "default"], ["fine-tune", "default"])
    assert len([line for line in done.stdout.splitlines() if line.split()[:2] in rows]) == 2
    for row in found:
        assert cell(row, official)[0] in done.stdout
    assert str(tmp_path / "out" / "report.html") in done.stdout
    assert results.config["tuning"] is results.tuned is None
    # the reference takes a retraining by its nature, and no limit cuts it
    (reference,) = [row for row in found if row.label == "retrain"]
    assert reference.cut == 0


def test_an_estimate_prints_models_and_time_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    done = run(config, "--estimate", "--models", 8, "--originals", 2)
    assert done.exit_code == 0, done.output
    assert "2 originals, 16 retrained and 16 unlearned models" in done.stdout
    found = json.loads(run(config, "--estimate", "--models", 8, "--json").stdout)
    assert found["total"]["unlearned"] == 24
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_with_a_folder_keeps_its_timing_there(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(config, "--estimate", "--models", 8, "--out", out).exit_code == 0
    assert [path.name.partition("-")[0] for path in out.iterdir()] == ["timing"]


def test_options_win_over_the_file(config: Path) -> None:
    arguments = ("--estimate", "--json", "--models", 8, "--originals", 1, "--setups", "reuse-n-1,reuse-n-n")
    found = json.loads(run(config, *arguments).stdout)
    assert set(found["setups_alone"]) == {"reuse-n-1", "reuse-n-n"}
    assert found["total"]["unlearned"] == 8 + 7


def test_trials_are_counted_for_methods_that_have_settings_to_tune(config: Path) -> None:
    arguments = (
        "--estimate",
        "--json",
        "--models",
        8,
        "--originals",
        1,
        "--set",
        "tuning.models=2",
        "--trials",
        3,
    )
    found = json.loads(run(config, *arguments).stdout)
    assert found["parts"]["tuning"]["unlearned"] == 3 * 2
    assert found["parts"]["tuned_at_most"]["unlearned"] == 8


def test_what_cannot_be_is_said(config: Path) -> None:
    assert "--out is needed" in problem(config)
    assert "did you mean 'fine-tune'" in problem(config, "--estimate", "--methods", "finetune")
    assert "exclude each other" in problem(config, "--no-tuning", "--trials", 3, "--estimate")
    assert "exclude each other" in problem(config, "--no-tuning", "--set", "tuning.models=3", "--estimate")
    assert "(--out)" in problem(config, "--estimate", "--engine", "slurm@gpu=1")
    assert "digits" in problem("digist", "--estimate")
    assert "reuse-n-1" in problem(config, "--estimate", "--setups", "reuse")
