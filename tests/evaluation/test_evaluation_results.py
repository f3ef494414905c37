"""Result files: what is written is what is read."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.evaluation.results import Row, find, read_results, write_results
from support.known_models import KnownModel, image_set, measured


@pytest.fixture
def rows() -> list[Row]:
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.3)}
    return measured(models, {"forget": image_set("abc"), "retain": image_set("defghi")}).rows


def test_json_gives_the_same_rows_back(tmp_path: Path, rows: list[Row]) -> None:
    write_results(tmp_path, rows)
    assert read_results(tmp_path) == rows
    stored = json.loads((tmp_path / "results.json").read_text())
    promised = {"model", "set", "metric", "value", "low", "high", "direction", "reference"}
    assert all(promised <= set(row) for row in stored)


def test_csv_holds_the_same_figures(tmp_path: Path, rows: list[Row]) -> None:
    write_results(tmp_path, rows)
    with open(tmp_path / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [field.name for field in fields(Row)]
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        for name, value in asdict(row).items():
            if isinstance(value, float):
                assert float(line[name]) == value
            else:
                assert line[name] == ("" if value is None else str(value))


def test_a_row_is_found_by_model_set_and_metric(rows: list[Row]) -> None:
    row = find(rows, "unlearned", "retain", "ssim")
    assert row is not None
    assert (row.model, row.set, row.metric) == ("unlearned", "retain", "ssim")
    assert find(rows, "retrained", "retain", "ssim") is None


def test_missing_results_mean_an_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no results\.json: the run is not finished"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", "cannot be read: it is not JSON"),
        ('[{"model": "original"}]', "is damaged"),
        ('[{"modell": 1}]', "is damaged"),
        ("7", "is damaged"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=rf"results\.json {said}"):
        read_results(tmp_path)
