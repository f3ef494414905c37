"""The card of a saved model: what it says, what it never says, and that it is held against the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from efface.jobs.concluding import record_purge, renew_report
from efface.jobs.run import RunResult
from efface.reports.anew import check_texts
from efface.reports.card import NAME, card_of, card_text, library
from efface.runs.folder import RunFolder
from efface.runs.record import Record, digest_of, read_record
from efface.runs.verification import verify
from support.report_runs import a_record, described, rows_of
from support.run_fixtures import CommandLine
from support.run_making import save_photo

pytestmark = pytest.mark.usefixtures("opened_once")

ROWS = [*rows_of("forget", 0.01, 0.03, 0.031), *rows_of("retain", 0.01, 0.011, 0.01)]


@pytest.fixture
def copied(finished: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def record_with(origin: dict[str, Any], **changes: Any) -> Record:
    values = a_record(**changes)
    values["model"]["before"]["description"] = described(origin=origin)
    return Record.model_validate(values)


def test_the_hub_reads_each_set_apart_beside_what_it_is_to_be_compared_with() -> None:
    card = ModelCard(card_text(record_with({"hub": "facebook/vit-mae-base", "revision": "abc"}), ROWS))
    assert card.data.base_model == "facebook/vit-mae-base"
    results = {result.dataset_config: result for result in card.data.eval_results or []}
    assert set(results) == {"forget", "retain"}
    assert len({result.dataset_name for result in results.values()}) == 2
    forget = results["forget"]
    assert (forget.metric_type, forget.metric_value) == ("hole_mse", 0.03)
    assert forget.metric_args == {
        "goal": "the goal is the retrained model's value",
        "unit": "squared intensity, 0 to 1",
        "original": 0.01,
        "retrained": 0.031,
    }
    assert "| 0.01000 (0.0090 to 0.0110) | 0.03000 (0.0270 to 0.0330) | 0.03100" in card.text


def test_a_model_without_a_name_on_the_hub_has_no_base_model() -> None:
    data = ModelCard(card_text(record_with({"kind": "transformers"}), ROWS)).data
    assert data.base_model is None


def test_fresh_weights_have_no_base_model() -> None:
    record = record_with({"hub": "a/b"}, claim={"level": "exact", "words": "Trained from fresh weights."})
    assert ModelCard(card_text(record, ROWS)).data.base_model is None


def test_words_of_the_operator_stay_in_the_record() -> None:
    reference = {
        "weights": "d" * 64, "description": described(), "stages": "all but those with Ada Lovelace",
    }  # fmt: skip
    record = record_with(
        {"kind": "transformers"},
        request={"id": "lovelace-1", "received": None, "regime": None, "reason": "Ada asked"},
        substitute="the model without Ada",
        retrained=reference,
    )
    text = card_text(record, ROWS)
    assert "The reference model was not retrained in every stage" in text
    assert not [word for word in ("Ada", "ovelace") if word in text]


def test_a_library_is_told_by_the_files() -> None:
    assert library(["model_index.json", "unet/config.json"]) == "diffusers"
    assert library(["config.json", "diffusion_pytorch_model.safetensors", "schedule.json"]) == "diffusers"
    assert library(["config.json", "preprocessor_config.json"]) == "transformers"
    assert library(["config.json", "model.safetensors"], "timm") == "timm"
    assert library(["config.json", "model.safetensors"], "efface") == "efface"


def outcomes(run: Path) -> dict[str, str]:
    checks = verify(run, source_model=False)
    return {check.what: check.outcome for check in [*checks, *check_texts(run, checks)]}


def test_page_and_card_of_a_fresh_run_are_as_they_are_made_anew(finished: RunResult) -> None:
    assert (finished.run / NAME).read_text() == card_of(finished.run, finished.record)
    found = outcomes(finished.run)
    assert (found["the page"], found["the model card"]) == ("matches", "matches")
    assert finished.record.digest in (finished.run / NAME).read_text()


@pytest.mark.parametrize(("name", "what"), [("report.html", "the page"), (NAME, "the model card")])
def test_a_figure_that_was_changed_in_page_or_card_differs_though_the_seal_was_made_anew(
    copied: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efface.files import sha256_of_file, write_json

    source = read_record(copied).environment.source.model_copy(update={"changed": False})
    monkeypatch.setattr("efface.reports.anew.source_state", lambda: source)
    monkeypatch.setattr("efface.reports.anew.read_record", lambda run: with_source(run, source))
    text = (copied / name).read_text()
    value = next(row.value for row in RunResult.read(copied).rows if row.metric == "hole_psnr")
    shown = f"{value:.4g}"
    assert shown in text
    (copied / name).write_text(text.replace(shown, "99.99"))
    assert outcomes(copied)[name] == "differs"
    seal = raw_seal(copied)
    seal["files"][name] = sha256_of_file(copied / name)
    write_json(copied / "seal.json", seal | {"digest": digest_of(seal)})
    found = outcomes(copied)
    assert (found[name], found[what]) == ("matches", "differs")


def raw_seal(run: Path) -> dict[str, Any]:
    import json

    values: dict[str, Any] = json.loads((run / "seal.json").read_text())
    return values


def with_source(run: Path, source: Any) -> Record:
    record = read_record(run)
    environment = record.environment.model_copy(update={"source": source})
    return record.model_copy(update={"environment": environment})


def test_a_page_of_another_version_is_not_checked(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efface.reports.anew.card_of", lambda *_: "other words")
    monkeypatch.setattr("efface.reports.anew.TEXTS", {NAME: of_card()})
    other = read_record(copied).environment.source.model_copy(update={"commit": "0" * 40})
    monkeypatch.setattr("efface.reports.anew.source_state", lambda: other)
    checks = list(check_texts(copied, []))
    assert [(check.outcome, check.detail) for check in checks] == [
        ("not checked", "another version of efface wrote it")
    ]


def of_card() -> Any:
    from efface.reports.anew import _Text

    return _Text("the model card", (), lambda run, record: "other words")


def test_a_purge_writes_the_card_with_the_record(
    tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    import efface
    from support.run_making import SHORT

    run = efface.unlearn(
        tiny, forget="label:cats", images=photos, out=tmp_path / "run", keep_working_files=True, **SHORT
    ).run
    before = read_record(run).digest
    assert before in (run / NAME).read_text()
    with RunFolder(run) as held:
        record_purge(held)
    after = read_record(run).digest
    assert after != before
    assert after in (run / NAME).read_text()
    assert not (run / "pending").exists()
    assert set(outcomes(run).values()) == {"matches"}
    renew_report(run)
    assert cli("verify", run).code == 0


def test_a_card_that_was_edited_leaves_the_weights_checked(copied: Path) -> None:
    (copied / NAME).write_text("mine")
    found = outcomes(copied)
    assert (found[NAME], found["the model card"], found["weights in model/"]) == (
        "differs", "not checked", "matches",
    )  # fmt: skip


def test_what_lies_beside_the_weights_later_is_said_and_not_held_against_them(copied: Path) -> None:
    (copied / "model" / "model.sig").write_text("{}")
    (copied / "run.sig").write_text("{}")
    found = outcomes(copied)
    assert (found["model/model.sig"], found["run.sig"]) == ("not checked", "not checked")
    assert found["weights in model/"] == "matches"
    save_photo(copied / "model" / "face.png", 1)
    assert outcomes(copied)["model/face.png"] == "differs"


def test_weights_are_compared_though_no_family_can_be_opened(
    finished: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise ImportError("no such library")

    monkeypatch.setattr("efface.runs.verification.load_generator", absent)
    found = {check.what: (check.outcome, check.detail) for check in verify(finished.run)}
    without = ("matches", "its tensors, without their names: it cannot be opened here: no such library")
    assert found["weights in model/"] == found["weights of the original model"] == without
    monkeypatch.setattr("efface.runs.verification.stored_digest", lambda _: "others")
    found = {check.what: (check.outcome, check.detail) for check in verify(finished.run)}
    assert found["weights in model/"] == ("not checked", "it cannot be opened here: no such library")
