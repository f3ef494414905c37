"""`efface bench generators` on the command line: what it reads, what it refuses, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import efface
from efface.benchmark.config import read_bench
from efface.benchmark.generators.data import images_of
from efface.benchmark.generators.kind import GENERATORS
from efface.benchmark.generators.task import GeneratorBench, GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.results import read_bench_results
from efface.benchmark.runs import PoolRun
from efface.cli import app
from efface.documents import yaml_text
from efface.errors import InputError, RunRefused

CONFIG = {
    "task": {
        "images": {"data": "digits", "forget": "random:12", "limit": 60, "limit_test": 40},
        "generator": "mae",
        "architecture": {
            "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1,
            "decoder_hidden_size": 16, "decoder_layers": 1,
        },
        "training": {"steps": 2, "batch_size": 8},
        "unlearning": {"steps": 1},
        "measured": 8,
        "pictures": 1,
    },
    "methods": ["fine-tune", "blank"],
    "models": 2,
    "engine": "in-line",
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text(yaml_text(CONFIG), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def out(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished benchmark with pictures, and what it printed."""
    out = tmp_path_factory.mktemp("done") / "out"
    done = run(config, "--out", out, "--methods", "fine-tune", "--with-pictures")
    assert done.exit_code == 0, done.output
    return out, done


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "generators", *(str(one) for one in arguments)])


def problem(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def test_a_benchmark_prints_its_table_and_names_its_files(out: tuple[Path, Result]) -> None:
    folder, done = out
    (found,) = read_bench_results(folder).tasks.values()
    assert [row.label for row in found.tables[0].rows] == ["original", "retrained", "fine-tune"]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("original", "retrained", "fine-tune")] == [
        "original", "retrained", "fine-tune",
    ]  # fmt: skip
    assert "filled without a model, with the mean" in done.stdout
    for name in ("report.html", "results.csv", "results.md", "results.json", "pictures.html"):
        assert (folder / name).exists()
        assert str(folder / name) in done.stdout


def test_pictures_are_those_that_the_runs_kept_and_stand_in_a_file_of_their_own(
    out: tuple[Path, Result],
) -> None:
    folder, _ = out
    results = read_bench_results(folder)
    ((name, task),) = results.tasks.items()
    sheets = {sheet.of_set: sheet for sheet in task.tables[0].sheets}
    assert set(sheets) == {"forget", "retain", "neutral"}
    assert sheets["forget"].columns == ["image", "what a model sees", "original", "retrained", "1  fine-tune"]
    data = images_of(results_task(folder))
    sheet = np.asarray(Image.open(folder / sheets["neutral"].file))
    assert sheet.shape == (8, 5 * 8, 3)
    true = data.pictures.read(data.measured(results_task(folder))["neutral"].ids[0])
    np.testing.assert_array_equal(sheet[:, :8], true)
    np.testing.assert_array_equal(sheet[:2, 8:16], true[:2])
    assert (sheet[2:6, 10:14] != true[2:6, 2:6]).any()
    kept = Pool(folder / "pools" / name, results_task(folder), GENERATORS).outputs(PoolRun("retrained", 0))
    pictures = kept.answers["centre:0.5", "neutral"].pictures[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(sheet[:, 24:32], pictures)
    assert "data:image" not in (folder / "report.html").read_text(encoding="utf-8")
    page = (folder / "pictures.html").read_text(encoding="utf-8")
    assert "shows images that were to be forgotten" in page
    assert page.count("data:image/png;base64,") == 3


def test_maps_stand_in_the_results_and_in_the_report(out: tuple[Path, Result]) -> None:
    folder, _ = out
    (task,) = read_bench_results(folder).tasks.values()
    (found,) = task.tables[0].maps
    groups = [(group.model, group.of_set, len(group.points)) for group in found.groups]
    assert groups == [
        (model, of_set, count)
        for model in ("true", "original", "unlearned")
        for of_set, count in (("forget", 12), ("retain", 8))
    ]
    assert "t-SNE of the features" in (folder / "report.html").read_text(encoding="utf-8")


def results_task(folder: Path) -> GeneratorTask:
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return GeneratorTask.from_values(values["tasks"]["digits"])


def test_the_same_folder_takes_another_method_and_keeps_what_was_done(
    config: Path, out: tuple[Path, Result]
) -> None:
    folder, _ = out
    before = {path: path.stat().st_mtime_ns for path in (folder / "pools").rglob("*.npz")}
    spent = read_bench_results(folder).cost.wall_seconds
    result = efface.bench_generators(config, folder)
    assert result.out == folder
    after = {path: path.stat().st_mtime_ns for path in (folder / "pools").rglob("*.npz")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2
    assert result.results.cost.wall_seconds > spent
    (found,) = result.results.tasks.values()
    assert {row.label for row in found.tables[0].rows[2:]} == {"fine-tune", "blank"}


def test_an_estimate_says_models_and_time_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    done = run(config, "--estimate", "--models", 8, "--methods", "blank")
    assert done.exit_code == 0, done.output
    assert "8 originals, 16 retrained and 8 unlearned models: about" in done.stdout
    found = json.loads(run(config, "--estimate", "--json", "--set", "models=3").stdout)
    assert [found["total"][kind] for kind in ("originals", "retrained", "unlearned")] == [3, 3, 6]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_said(config: Path, tmp_path: Path) -> None:
    assert "--out is needed" in problem(config)
    assert "did you mean 'fine-tune'" in problem(config, "--estimate", "--methods", "finetune")
    assert "cannot be read" in problem(tmp_path / "absent.yaml", "--estimate")
    assert "--data" in problem(config, "--estimate", "--set", "task.images.data=packed:DATA/x")
    assert "engine" in problem(config, "--estimate", "--engine", "nowhere")


def test_tasks_that_would_share_a_folder_are_named(config: Path) -> None:
    said = problem(config, "--estimate", "--set", "vary={a b: {}, a-b: {measured: 9}}")
    assert "'a b': its runs would lie in the folder of another task" in said


def test_methods_for_classifiers_are_said_to_be(config: Path) -> None:
    said = problem(config, "--estimate", "--methods", "ssd,blank,fine-tune")
    assert "ssd: not for generators, whose methods are encoder-noise" in said


@pytest.mark.parametrize("name", ["run.key", "record.json"])
def test_the_folder_of_something_else_is_refused_and_left_alone(
    config: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "config.yaml").write_text("its own")
    (tmp_path / name).touch()
    error = run(config, "--out", tmp_path).exception
    assert isinstance(error, RunRefused)
    assert (tmp_path / "config.yaml").read_text() == "its own"
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", name}


def test_a_file_is_no_folder_of_results(config: Path) -> None:
    assert isinstance(run(config, "--out", config).exception, RunRefused)


def test_results_name_no_place_of_an_extractor(config: Path) -> None:
    chosen = read_bench(GeneratorBench, config)
    (name, task), *_ = chosen.tasks.items()
    evaluation = task.evaluation.model_copy(
        update={"extractor": "inception:/home/me/weights.pth", "similarity": "built-in"}
    )
    tasks = {name: task.model_copy(update={"evaluation": evaluation})}
    plain = tasks[name].without_paths()["evaluation"]
    assert isinstance(plain, dict)
    assert (plain["extractor"], plain["similarity"]) == ("inception:weights.pth", "built-in")
    assert "/home/me" not in str(chosen.model_copy(update={"tasks": tasks}).without_paths())


def test_help_names_both_benchmarks() -> None:
    shown = CliRunner().invoke(app, ["bench"]).output
    assert "classifiers" in shown
    assert "generators" in shown
    assert "forgotten" in run("--help").stdout
