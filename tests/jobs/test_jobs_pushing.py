"""A run's model is handed to the hub: what would go, what is refused, and what is sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from efface.errors import InputError, Mismatch, RequirementsNotMet, Stopped
from efface.evaluation.verdict import Verdict
from efface.jobs.pushing import parcel, send
from efface.jobs.run import RunResult
from efface.reports.card import NAME as CARD
from efface.runs.record import read_record
from support.classifier_fixtures import Story
from support.run_fixtures import CommandLine

TO = "hub:someone/forgot"


class Hub:
    """The hub's interface, without a hub. there: whether the repository is private, None where there is none."""

    def __init__(self, there: bool | None = None) -> None:
        self.there = there
        self.made: list[tuple[str, bool]] = []
        self.sent: dict[str, bytes] = {}

    def model_info(self, name: str) -> Any:
        if self.there is None:
            raise RepositoryNotFoundError(
                "no such repository", response=SimpleNamespace(headers={}, request=None)
            )  # type: ignore[arg-type]
        return SimpleNamespace(private=self.there)

    def create_repo(self, name: str, *, private: bool, repo_type: str) -> None:
        self.made.append((name, private))

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], **_: Any) -> Any:
        self.sent |= {name: (folder_path / name).read_bytes() for name in allow_patterns}
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def upload_file(self, *, path_or_fileobj: Path, path_in_repo: str, **_: Any) -> None:
        self.sent[path_in_repo] = path_or_fileobj.read_bytes()


@pytest.fixture
def copied(finished: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def test_a_dry_run_says_what_would_go_and_sends_nothing(
    finished: RunResult, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efface.jobs.pushing.send", None)
    outcome = cli("push", finished.run, TO)
    assert outcome.code == 0
    assert (finished.run / CARD).read_text() in outcome.out
    for path in (finished.run / "model").iterdir():
        assert path.name in outcome.out
    assert f"This would go to {TO} (private)" in outcome.out
    assert "Nothing was sent" in outcome.out
    told = json.loads(cli("push", finished.run, TO, "--json", "--with-record").out)
    names = {path.name for path in (finished.run / "model").iterdir()}
    assert (set(told["files"]), told["sent"]) == (names | {"record.json"}, None)


def test_model_and_card_go_and_nothing_else_of_the_run(copied: Path) -> None:
    (copied / "model" / "model.sig").write_text("{}")
    hub = Hub()
    address = send(parcel(copied, TO), hub)  # type: ignore[arg-type]
    assert hub.made == [("someone/forgot", True)]
    assert hub.sent == {path.name: path.read_bytes() for path in (copied / "model").iterdir()}
    assert address == "https://hub/someone/forgot/commit/1"


def test_the_record_goes_where_it_is_asked_for_and_holds_no_keyed_id(finished: RunResult) -> None:
    hub = Hub(there=True)
    send(parcel(finished.run, TO, with_record=True), hub)  # type: ignore[arg-type]
    record = hub.sent["record.json"].decode()
    ids = [
        json.loads(line)["id"]
        for path in (finished.run / "manifests").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(ids) == 10
    assert not [id_ for id_ in ids if id_ in record]
    assert not hub.made


def test_a_public_repository_is_met_only_where_that_was_said(finished: RunResult) -> None:
    with pytest.raises(InputError, match="is public: say --public"):
        send(parcel(finished.run, TO), Hub(there=False))  # type: ignore[arg-type]
    hub = Hub(there=False)
    send(parcel(finished.run, TO, public=True), hub)  # type: ignore[arg-type]
    assert "README.md" in hub.sent


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(finished: RunResult) -> None:
    class Offline(Hub):
        def model_info(self, name: str) -> Any:
            raise OfflineModeIsEnabled("Cannot reach the hub\nmore")

    with pytest.raises(Stopped, match=r"was not reached, or refused it: Cannot reach the hub\. The same"):
        send(parcel(finished.run, TO), Offline())  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["someone/forgot", "hub:forgot", "hub:a/b/c", "hub:a/..", "hub:", "hub:a b/c"])
def test_what_names_no_repository_is_refused(finished: RunResult, to: str) -> None:
    with pytest.raises(InputError, match="write it as hub:owner/name"):
        parcel(finished.run, to)


def test_a_run_that_is_not_finished_or_made_nothing_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "seal.json").unlink()
    with pytest.raises(InputError, match="is no finished run"):
        parcel(copied, TO)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        parcel(tmp_path / "nowhere", TO)


def test_a_run_that_was_changed_is_refused(copied: Path) -> None:
    (copied / CARD).write_text((copied / CARD).read_text() + "the best model\n")
    with pytest.raises(Mismatch, match=r"does not pass efface verify.*model/README\.md"):
        parcel(copied, TO)


def test_a_model_that_is_gone_is_named(copied: Path) -> None:
    shutil.rmtree(copied / "model")
    with pytest.raises(InputError, match="no longer holds"):
        parcel(copied, TO)


def test_a_ruined_model_is_refused(finished: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_record(finished.run)
    assert record.verdict
    ruined = Verdict(
        **{**vars(record.verdict), "word": "ruined", "reason": "The hole_mse is 9 times the original."}
    )
    monkeypatch.setattr(
        "efface.jobs.pushing.read_record", lambda _: record.model_copy(update={"verdict": ruined})
    )
    with pytest.raises(RequirementsNotMet, match=r"is ruined, and is not handed out\. The hole_mse"):
        parcel(finished.run, TO)


def test_class_names_of_a_classifier_are_told_of_before_they_go(story: Story, cli: CommandLine) -> None:
    outcome = cli("push", story.unlearned.run, TO)
    after = story.unlearned.record.model.after
    assert after
    assert f"config.json names the model's {after.description.classes} classes" in outcome.out
    assert "lists the names of its classes" in (story.unlearned.run / CARD).read_text()
    assert "lists the names of its classes" in (story.unlearned.run / "report.html").read_text()
    # a training has no figures, and a card all the same
    assert cli("push", story.retrained.run, TO).code == 0
