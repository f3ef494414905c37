"""The record: documented field by field, and read only in its own schema."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import efface.runs.record as record_module
import efface.runs.state as state_module
from efface.documents import Described
from efface.errors import InputError
from efface.evaluation.results import Row, Worst
from efface.jobs.run import RunResult
from efface.runs.digests import file_digests
from efface.runs.record import digest_of, is_intact, read_record, write_record

DOCUMENT = (Path(__file__).parents[2] / "docs" / "record.md").read_text(encoding="utf-8")


def documented(section: str) -> dict[str, str]:
    """The names in the first column of a section's table, with the text beside them."""
    rows: dict[str, str] = {}
    for line in DOCUMENT.split(f"## {section}\n")[1].split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            _, names, text, _ = line.split("|", 3)
            rows |= {name.strip(" `"): text for name in names.split(",")}
    return rows


def test_every_field_of_every_part_is_described() -> None:
    modules = (*vars(record_module).values(), *vars(state_module).values())
    parts = {kind for kind in modules if isinstance(kind, type) and issubclass(kind, Described)}
    assert len(parts) > 40
    assert [
        f"{model.__name__}.{name}"
        for model in parts
        for name, field in model.model_fields.items()
        if not field.description
    ] == []


def test_a_real_record_reads_back_as_it_was_written(finished: RunResult) -> None:
    written = json.loads((finished.run / "record.json").read_text(encoding="utf-8"))
    record = read_record(finished.run)
    assert (record, record.as_dict()) == (finished.record, written)
    assert record.digest == digest_of(written)
    assert is_intact(finished.run)


def test_every_column_of_the_results_is_documented_and_no_other() -> None:
    assert set(documented("results.json and results.csv")) == {field.name for field in fields(Row)}
    assert all(f"`{field.name}`" in DOCUMENT for field in fields(Worst))


def test_a_record_carries_its_own_digest(finished: RunResult, tmp_path: Path) -> None:
    written = write_record(tmp_path, finished.record.model_copy(update={"limits": ["ü"]}))
    assert written == read_record(tmp_path)
    assert written.digest != finished.record.digest
    assert is_intact(tmp_path)
    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    (tmp_path / "record.json").write_text(text.replace("ü", "u"), encoding="utf-8")
    assert not is_intact(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"changed_parameters": 9}, "changed_parameters"),
        ({"seeds": {"unlearning": "0"}}, "seeds.unlearning"),
        ({"claim": {"level": "certain", "words": ""}}, "claim.level"),
    ],
)
def test_a_field_that_is_none_is_refused_by_its_name(
    finished: RunResult, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    values = finished.record.as_dict() | change
    (tmp_path / "record.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"record\.json is damaged") as caught:
        read_record(tmp_path)
    assert said in str(caught.value)


def test_a_folder_without_a_record_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no record\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read: it is not JSON"),
        ("[]", "has schema None"),
        ('{"schema": "efface-record/1"}', "'efface-record/1'"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_record(tmp_path)
    assert "record.json" in str(caught.value)
    assert said in str(caught.value)


def test_digests_of_a_folder_name_files_in_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_digests(tmp_path) == {"a": empty, "sub/b": empty}
    assert file_digests(tmp_path, ["a", "absent"]) == {"a": empty}


def test_the_record_says_what_was_asked_and_done(finished: RunResult) -> None:
    record = finished.record
    assert (record.kind, record.claim.level, record.request.id) == ("unlearning", "empirical", "7")
    assert {name: facts.count for name, facts in record.images.sets.items()} == {
        "forget": 3,
        "retain": 5,
        "neutral": 2,
    }
    assert record.method.name == "encoder-noise"
    assert record.method.settings["alpha"] == 0.25
    assert (record.training.steps, record.training.resumed_from) == (6, None)
    assert record.results.rows == len(finished.rows)
    assert record.started <= record.finished
    assert record.model.before.weights != record.model.after.weights
