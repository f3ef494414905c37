"""Verification: a fresh run passes, and every kind of change is named exactly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import efface
from efface.jobs.run import RunResult
from efface.runs.record import digest_of
from efface.runs.verification import verify
from support.run_fixtures import CommandLine
from support.run_making import SHORT, make_model


@pytest.fixture
def copied(finished: RunResult, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.run, tmp_path / "run")
    return tmp_path / "run"


def failed(run: Path) -> dict[str, str]:
    return {check.what: check.outcome for check in verify(run) if not check.passed}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def test_a_fresh_run_passes_every_check(finished: RunResult) -> None:
    checks = verify(finished.run)
    assert {check.outcome for check in checks} == {"matches"}
    assert {check.what for check in checks} == {
        "record.json itself",
        "config.yaml",
        "model/config.json",
        "model/model.safetensors",
        "model/preprocessor_config.json",
        "weights in model/",
        "manifests/forget.jsonl",
        "manifests/retain.jsonl",
        "manifests/neutral.jsonl",
        "results.json",
        "results.csv",
        "per_image.csv",
        "worst.json",
        "weights of the original model",
        "working files",
    }


def test_a_flipped_bit_in_the_weights_is_named(copied: Path) -> None:
    weights = copied / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert failed(copied) == {"model/model.safetensors": "differs", "weights in model/": "differs"}


@pytest.mark.parametrize("name", ["results.json", "results.csv", "per_image.csv", "worst.json"])
def test_an_edited_result_file_is_named(copied: Path, name: str) -> None:
    rewrite(copied / name, lambda text: text + " ")
    assert failed(copied) == {name: "differs"}


@pytest.mark.parametrize("name", ["forget", "retain", "neutral"])
def test_an_edited_manifest_is_named(copied: Path, name: str) -> None:
    rewrite(copied / "manifests" / f"{name}.jsonl", lambda text: text[1:])
    assert failed(copied) == {f"manifests/{name}.jsonl": "differs"}


def test_an_edited_record_is_named(copied: Path) -> None:
    rewrite(copied / "record.json", lambda text: text.replace('"empirical"', '"exact"'))
    assert failed(copied) == {"record.json itself": "differs"}


@pytest.mark.parametrize("part", ["images", "model", "config", "working_files", "digest", "sources"])
def test_a_record_that_lost_a_part_is_named_and_no_crash(copied: Path, part: str) -> None:
    path = copied / "record.json"
    record = json.loads(path.read_text())
    del record[part]
    path.write_text(json.dumps(record))
    assert failed(copied)["record.json itself"] == "differs"


def test_a_record_that_the_schema_refuses_differs_though_its_digest_was_made_anew(copied: Path) -> None:
    path = copied / "record.json"
    record = json.loads(path.read_text())
    record["training"]["changed_parameters"] = record["training"].pop("changed_tensors")
    path.write_text(json.dumps(record | {"digest": digest_of(record)}))
    assert failed(copied) == {"what the record lists": "differs"}


def test_an_edited_config_is_named(copied: Path) -> None:
    rewrite(copied / "config.yaml", lambda text: text.replace("alpha: 0.25", "alpha: 0.5"))
    assert failed(copied) == {"config.yaml": "differs"}


@pytest.mark.parametrize("content", ["", "a: [1", "seed: 0\n"])
def test_a_spoilt_config_is_named_and_no_crash(copied: Path, content: str) -> None:
    (copied / "config.yaml").write_text(content)
    assert failed(copied)["config.yaml"] == "differs"


def test_a_setting_that_decides_nothing_may_differ(copied: Path) -> None:
    rewrite(
        copied / "config.yaml",
        lambda text: text.replace("keep_working_files: false", "keep_working_files: true"),
    )
    assert failed(copied) == {}


def test_an_extra_file_in_the_model_is_named(copied: Path) -> None:
    (copied / "model" / "sub").mkdir()
    (copied / "model" / "sub" / "code.py").write_text("")
    assert failed(copied) == {"model/sub/code.py": "differs"}


@pytest.mark.parametrize("name", ["requirements.json", "probes.json", "path/late/config.json"])
def test_a_result_file_that_was_laid_beside_the_others_is_named(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(parents=True, exist_ok=True)
    (copied / name).write_text("[]")
    assert failed(copied) == {name: "differs"}


def test_missing_files_are_named(copied: Path) -> None:
    (copied / "manifests" / "forget.jsonl").unlink()
    (copied / "results.csv").unlink()
    assert failed(copied) == {"manifests/forget.jsonl": "missing", "results.csv": "missing"}


def test_leftover_working_files_are_named(copied: Path) -> None:
    (copied / "work").mkdir()
    (copied / "work" / "checkpoint.pt").write_bytes(b"x")
    assert failed(copied) == {"working files": "differs"}


def test_a_changed_original_is_named_and_a_missing_one_is_not_checked(tmp_path: Path, photos: Path) -> None:
    model = make_model(tmp_path / "model")
    result = efface.unlearn(
        model, forget=photos / "cats", retain=photos / "dogs", out=tmp_path / "run", **SHORT
    )
    assert failed(result.run) == {}
    make_model(model, seed=1)
    assert failed(result.run) == {"weights of the original model": "differs"}
    shutil.rmtree(model)
    (check,) = [check for check in verify(result.run) if "original model" in check.what]
    assert (check.outcome, check.passed) == ("not checked", True)
    assert not [check for check in verify(result.run, source_model=False) if "original model" in check.what]


def test_the_command_names_what_differs_and_exits_with_5(copied: Path, cli: CommandLine) -> None:
    assert cli("verify", copied).code == 0
    rewrite(copied / "results.json", lambda text: text + " ")
    outcome = cli("verify", copied)
    assert outcome.code == 5
    assert "1 of 15 checks failed: results.json" in outcome.err
    assert [line.split()[:2] for line in outcome.out.splitlines() if "differs" in line] == [
        ["results.json", "differs"]
    ]
    as_json = json.loads(cli("verify", copied, "--json").out)
    assert as_json["passed"] is False
    assert [check["what"] for check in as_json["checks"] if check["outcome"] == "differs"] == ["results.json"]


def test_what_is_no_run_cannot_be_verified(tmp_path: Path, cli: CommandLine) -> None:
    outcome = cli("verify", tmp_path)
    assert outcome.code == 2
    assert "holds no record.json" in outcome.err
    assert os.listdir(tmp_path) == []
