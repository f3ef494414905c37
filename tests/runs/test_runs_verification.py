"""Verification: a fresh run passes, and every kind of change is named exactly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import JsonValue

import efface
from efface.jobs.run import RunResult
from efface.runs.contradictions import OF_FIGURES, QUESTIONS
from efface.runs.record import digest_of
from efface.runs.seal import read_seal
from efface.runs.verification import summary, verify
from support.run_fixtures import CommandLine
from support.run_making import SHORT, make_model

pytestmark = pytest.mark.usefixtures("opened_once")


@pytest.fixture
def copied(finished: RunResult, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.run, tmp_path / "run")
    return tmp_path / "run"


def failed(run: Path) -> dict[str, str]:
    return {check.what: check.outcome for check in verify(run) if not check.passed}


def outcomes(run: Path) -> dict[str, tuple[str, str]]:
    return {check.what: (check.outcome, check.detail) for check in verify(run)}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def write_values(path: Path, values: dict[str, JsonValue]) -> None:
    """A record or a seal, with its own digest made anew."""
    path.write_text(json.dumps(values | {"digest": digest_of(values)}))


def test_a_fresh_run_passes_every_check(finished: RunResult) -> None:
    checks = verify(finished.run)
    assert {check.outcome for check in checks} == {"matches"}
    assert {check.what for check in checks} == {
        "record.json itself",
        "seal.json itself",
        "run.key",
        "record.json",
        "report.html",
        "log.jsonl",
        "state.json",
        "config.yaml",
        "settings in config.yaml",
        "model/README.md",
        "model/config.json",
        "model/efface_forgotten.json",
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
        "verdict.json",
        "weights of the original model",
        "working files",
        *QUESTIONS,
        *OF_FIGURES,
    }


def test_a_flipped_bit_in_the_weights_is_named(copied: Path) -> None:
    weights = copied / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert failed(copied) == {"model/model.safetensors": "differs"}
    assert outcomes(copied)["weights in model/"] == ("not checked", "its files are not those of the run")


@pytest.mark.parametrize(
    "name", ["results.json", "results.csv", "per_image.csv", "worst.json", "verdict.json"]
)
def test_an_edited_result_file_is_named(copied: Path, name: str) -> None:
    rewrite(copied / name, lambda text: text + " ")
    assert failed(copied) == {name: "differs"}


@pytest.mark.parametrize("name", ["forget", "retain", "neutral"])
def test_an_edited_manifest_is_named(copied: Path, name: str) -> None:
    rewrite(copied / "manifests" / f"{name}.jsonl", lambda text: text[1:])
    assert failed(copied) == {f"manifests/{name}.jsonl": "differs"}


def test_an_edited_record_is_named(copied: Path) -> None:
    rewrite(copied / "record.json", lambda text: text.replace('"empirical"', '"exact"'))
    assert failed(copied) == {
        "record.json itself": "differs",
        "record.json": "differs",
        "the claim in record.json": "differs",
    }


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
    assert failed(copied) == {"what record.json says": "differs", "record.json": "differs"}


def test_an_edited_config_is_named(copied: Path) -> None:
    rewrite(copied / "config.yaml", lambda text: text.replace("alpha: 0.25", "alpha: 0.5"))
    assert failed(copied) == {"config.yaml": "differs", "settings in config.yaml": "differs"}
    assert outcomes(copied)["weights of the original model"][0] == "not checked"


@pytest.mark.parametrize("content", ["", "a: [1", "seed: 0\n"])
def test_a_spoilt_config_is_named_and_no_crash(copied: Path, content: str) -> None:
    (copied / "config.yaml").write_text(content)
    assert failed(copied)["config.yaml"] == "differs"


def test_of_a_setting_that_decides_nothing_only_the_file_differs(copied: Path) -> None:
    rewrite(
        copied / "config.yaml",
        lambda text: text.replace("keep_working_files: false", "keep_working_files: true"),
    )
    assert failed(copied) == {"config.yaml": "differs"}


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
    assert failed(copied) == {"manifests/forget.jsonl": "differs", "results.csv": "differs"}
    assert outcomes(copied)["results.csv"] == ("differs", "the file is gone")


def test_what_an_operator_keeps_elsewhere_is_not_checked(copied: Path) -> None:
    shutil.rmtree(copied / "model")
    (copied / "config.yaml").unlink()
    key = (copied / "run.key").rename(copied.parent / "key")
    assert failed(copied) == {}
    unchecked = {what for what, (outcome, _) in outcomes(copied).items() if outcome == "not checked"}
    assert unchecked == {
        "run.key", "config.yaml", "settings in config.yaml", "model/README.md", "model/config.json",
        "model/efface_forgotten.json", "model/model.safetensors",
        "model/preprocessor_config.json", "weights in model/", "weights of the original model",
        "what was asked, in record.json",
    }  # fmt: skip
    by_name = {check.what: check.outcome for check in verify(copied, key=key)}
    assert by_name["run.key"] == "matches"
    key.write_text("0" * 64 + "\n")
    assert [check.what for check in verify(copied, key=key) if not check.passed] == ["run.key"]


def test_a_part_of_a_model_that_is_gone_differs(copied: Path) -> None:
    (copied / "model" / "config.json").unlink()
    assert failed(copied) == {"model/config.json": "differs"}


@pytest.mark.parametrize("name", ["report.html", "log.jsonl", "state.json", "run.key"])
def test_what_the_record_does_not_bind_the_seal_does(copied: Path, name: str) -> None:
    (copied / name).write_text("0" * 64)
    assert failed(copied) == {name: "differs"}


@pytest.mark.parametrize(
    "name",
    [
        "manifests/x.jsonl",
        "notes.txt",
        ".model.tmp/config.json",
        "pictures.html",
        "path/a.sig",
        "x/README.md",
    ],
)
def test_what_was_laid_into_the_run_is_named(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_text("x")
    assert failed(copied) == {name: "differs"}


@pytest.mark.parametrize("name", ["README.md", "delta.safetensors", "model/statement.json"])
def test_what_comes_after_the_seal_is_named_and_not_bound(copied: Path, name: str) -> None:
    (copied / name).write_text("x")
    assert failed(copied) == {}
    assert outcomes(copied)[name][0] == "not bound"
    said = summary(verify(copied))
    assert f"1 of {len(outcomes(copied))} checks say nothing, for no digest names the file: {name}." in said


@pytest.mark.parametrize(
    "name", ["model/sub", "notes", "manifests/more.jsonl", "model.sig", "run.key", ".lock"]
)
def test_a_link_differs_whatever_it_leads_to(copied: Path, name: str) -> None:
    outside = copied.parent / "outside"
    outside.mkdir()
    (copied / name).unlink(missing_ok=True)
    (copied / name).symlink_to(outside)
    assert failed(copied) == {name: "differs"}


def test_a_model_behind_a_link_is_not_read(copied: Path) -> None:
    (copied / "model").rename(copied.parent / "elsewhere")
    (copied / "model").symlink_to(copied.parent / "elsewhere")
    assert failed(copied) == {"model": "differs"}
    assert outcomes(copied)["weights in model/"][0] == "not checked"


def test_what_is_no_file_differs(copied: Path) -> None:
    (copied / "results.csv").unlink()
    os.mkfifo(copied / "results.csv")
    assert failed(copied) == {"results.csv": "differs"}


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "model/../results.json", "", "a//b"])
def test_a_listed_name_that_leaves_the_run_is_refused(copied: Path, name: str) -> None:
    seal = read_seal(copied)
    write_values(
        copied / "seal.json", seal.model_copy(update={"files": {**seal.files, name: "0" * 64}}).as_dict()
    )
    assert failed(copied) == {name: "differs"}


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "[" * 100_000, '{"schema": "efface-seal/1"}'])
def test_a_seal_that_is_gone_or_spoilt_differs(copied: Path, content: str | None) -> None:
    (copied / "seal.json").unlink()
    if content is not None:
        (copied / "seal.json").write_text(content)
    assert set(failed(copied)) - {"seal.json itself"} == {"what seal.json says"}


def test_an_edited_seal_is_named(copied: Path) -> None:
    rewrite(copied / "seal.json", lambda text: text.replace('"version": "', '"version": "9'))
    assert failed(copied) == {"seal.json itself": "differs"}


def test_a_page_written_anew_is_noted_and_nothing_else_is_covered_by_it(
    copied: Path, cli: CommandLine
) -> None:
    rewrite(copied / "results.csv", lambda text: text + " ")
    assert cli("report", copied).code == 0
    assert failed(copied) == {"results.csv": "differs"}
    outcome, detail = outcomes(copied)["report.html"]
    assert outcome == "matches"
    assert detail.startswith("written anew by `efface report` of version ")
    assert [one.files for one in read_seal(copied).renewals] == [["model/README.md", "report.html"]]


def test_a_purge_does_not_seal_an_edited_record(copied: Path, cli: CommandLine) -> None:
    rewrite(copied / "record.json", lambda text: text.replace('"empirical"', '"exact"'))
    (copied / "work").mkdir()
    (copied / "work" / "x").write_text("x")
    outcome = cli("purge", copied)
    assert outcome.code == 5
    assert "1 working file removed" in outcome.err
    assert not (copied / "work").exists()
    assert set(failed(copied)) == {"record.json itself", "record.json", "the claim in record.json"}


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
    count = len(outcomes(copied))
    rewrite(copied / "results.json", lambda text: text + " ")
    outcome = cli("verify", copied)
    assert outcome.code == 5
    # page and card, which the command makes anew, are two more
    assert f"1 of {count + 2} checks failed: results.json" in outcome.err
    assert outcome.out.splitlines()[-1].startswith(f"1 of {count + 2} checks differs: results.json.")
    assert [line.split()[:2] for line in outcome.out.splitlines()[:-1] if "differs" in line] == [
        ["results.json", "differs"]
    ]
    as_json = json.loads(cli("verify", copied, "--json").out)
    assert as_json["passed"] is False
    assert [check["what"] for check in as_json["checks"] if check["outcome"] == "differs"] == ["results.json"]
    assert as_json["summary"].endswith("No signature was checked.")


def test_what_is_no_run_cannot_be_verified(tmp_path: Path, cli: CommandLine) -> None:
    outcome = cli("verify", tmp_path)
    assert outcome.code == 2
    assert "holds no record.json" in outcome.err
    assert os.listdir(tmp_path) == []
