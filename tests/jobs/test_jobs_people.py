"""Names of people stand in nothing that a run hands out, and leave its config when that is asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError, Mismatch, RunRefused
from efface.jobs.concluding import purge_config
from efface.jobs.run import RunResult
from efface.runs.folder import RunFolder, open_run
from efface.runs.people import keyed_word, names_of, without_names
from efface.runs.record import read_record
from efface.runs.verification import verify
from support.classifier_fixtures import FINE_TUNE, SETTINGS, SMALL
from support.run_fixtures import CommandLine
from support.run_making import SHORT, make_model, save_photo

PEOPLE = ("Jane_Doe", "Max-Muster", "Ada Byron")
NAMES = ("jane", "doe", "muster", "byron")
SHORTEST: dict[str, Any] = {**SHORT, "training": {**SHORT["training"], "steps": 1}}
REQUEST = {
    "id": "doe-17",
    "reason": "Jane DOE asks to be forgotten, with her 5 photos",
    "regime": "Art. 17 GDPR",
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each person, five pictures in each."""
    folder = tmp_path_factory.mktemp("people") / "all"
    for person, name in enumerate(PEOPLE):
        for number in range(5):
            save_photo(folder / name / f"{number}.png", 900 + 10 * person + number)
    return folder


@pytest.fixture(scope="module")
def forgotten(people: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of a generator beside its model."""
    folder = tmp_path_factory.mktemp("forgotten")
    return efface.unlearn(
        make_model(folder / "model"),
        images=people,
        forget="label:Jane_Doe",
        out=folder / "run",
        request=REQUEST,
        substitute="the model of Jane's last request",
        probes=["collateral"],
        **SHORTEST,
    )


def named(run: Path) -> dict[str, list[str]]:
    """Which names stand in which file of a run that may be handed out."""
    files = [
        path
        for path in run.rglob("*")
        if path.is_file() and path.suffix in (".json", ".jsonl", ".csv", ".html", ".md")
    ]
    texts = {str(path.relative_to(run)): path.read_text(encoding="utf-8").lower() for path in files}
    found = {
        file: [name for name in NAMES if re.search(rf"(?<![a-z]){name}(?![a-z])", text)]
        for file, text in texts.items()
        if not file.startswith("model/") or file == "model/README.md"
    }
    assert len(found) >= 5 + (run / "model").is_dir()
    return {file: names for file, names in found.items() if names}


def test_no_name_stands_in_what_a_run_of_a_generator_hands_out(forgotten: RunResult) -> None:
    assert named(forgotten.run) == {}
    key = (forgotten.run / "run.key").read_text().strip()
    request = forgotten.record.request
    assert request is not None
    doe = keyed_word(bytes.fromhex(key), "doe")
    assert request.id == f"{doe}-17"
    assert request.reason is not None
    assert request.reason.endswith(f"{doe} asks to be forgotten, with her 5 photos")
    assert request.regime == "Art. 17 GDPR"
    classes = {
        entry["name"]
        for entry in json.loads((forgotten.run / "worst.json").read_text())
        if entry["kind"] == "class"
    }
    assert classes
    assert classes <= {keyed_word(bytes.fromhex(key), name, "class") for name in PEOPLE}
    config = forgotten.run / "config.yaml"
    assert "Jane DOE asks" in config.read_text(encoding="utf-8")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "config.yaml keeps labels" in forgotten.record.config.names


def test_no_name_stands_in_what_a_run_of_a_classifier_hands_out(people: Path, tmp_path: Path) -> None:
    """But in its model, whose classes have these names."""
    original = efface.train(people, out=tmp_path / "original", **SMALL)
    run = efface.unlearn(
        original.model,
        images=people,
        forget=str(people / "Jane_Doe" / "0.png"),
        method=FINE_TUNE,
        request=REQUEST,
        probes=["collateral"],
        out=tmp_path / "run",
        **SETTINGS,
    )
    assert named(original.run) == {}
    assert named(run.run) == {}


def test_words_that_name_nobody_stay() -> None:
    from efface.images.items import ImageSet

    names = names_of(
        ["label:Jane_Doe", "/data/photos/remove/max.png", "sha256:abc", "glob:*.jpg"], ImageSet()
    )
    assert names == {"jane", "doe", "max"}
    text = "Max and JANE want all photos removed; the maximum stays"
    cleaned = without_names(text, names, b"key")
    one, other = keyed_word(b"key", "max"), keyed_word(b"key", "jane")
    assert cleaned == f"{one} and {other} want all photos removed; the maximum stays"


@pytest.fixture
def copied(forgotten: RunResult, tmp_path: Path) -> Path:
    shutil.copytree(forgotten.run.parent / "model", tmp_path / "model")
    return shutil.copytree(forgotten.run, tmp_path / "run")


def test_a_purged_config_names_nobody_and_is_verified_knowingly(copied: Path, cli: CommandLine) -> None:
    outcome = cli("purge", copied, "--config")
    assert outcome.code == 0, outcome.err
    assert "can no longer be continued or rerun" in outcome.out
    text = (copied / "config.yaml").read_text(encoding="utf-8")
    assert not [name for name in (*NAMES, "people", "/") if name in text.lower()]
    assert "encoder-noise" in text
    assert open_run(copied)["images"]["duplicates"] == "stop"  # type: ignore[index, call-overload]
    assert [check for check in verify(copied) if check.outcome == "differs"] == []
    assert any(check.outcome == "not checked" and "config" in check.what for check in verify(copied))
    record = read_record(copied)
    assert record.config.purged
    assert "cannot be continued or rerun" in record.config.names
    assert cli("purge", copied, "--config").code == 0, "a second time there is nothing to do"


def test_a_purged_place_is_said_to_be_purged_not_moved(
    copied: Path, tmp_path: Path, cli: CommandLine
) -> None:
    alone = shutil.copytree(copied, tmp_path / "alone" / "run")
    assert cli("purge", alone, "--config").code == 0
    evaluated = cli("evaluate", alone, "--out", tmp_path / "evaluated")
    assert evaluated.code == 2
    assert "was purged of names and places" in evaluated.err
    assert all(option in evaluated.err for option in ("--original", "--images", "--forget"))
    assert "was purged of names and places" in cli("verify", alone, "--rerun").err
    lineage = cli("lineage", alone).out
    assert "was purged from its config" in lineage
    assert "moved" not in lineage


def test_a_later_request_follows_a_purged_config_by_the_weights_beside_it(
    copied: Path, people: Path, cli: CommandLine
) -> None:
    second = efface.unlearn(
        copied / "model", images=people, forget="label:Max-Muster", out=copied.parent / "second", **SHORTEST
    )
    assert cli("purge", second.run, "--config").code == 0
    outlook = efface.plan(second.model, images=people, forget="glob:Ada*/0.png", **SHORTEST)
    assert (outlook.faults, outlook.sets["retain"]) == ([], 4)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("options", [(), ("--config",)], ids=["files", "config"])
def test_a_purge_that_was_killed_is_finished_by_the_same_command(
    copied: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Killed before each of its renames in turn: nothing is half done, and verify says what to do."""
    if not options:
        (copied / "work").mkdir()
        (copied / "work" / "left").write_text("pixels")
    real, stopped = os.replace, []
    for kills in range(len(options), 30, 2):
        run = shutil.copytree(copied, copied.with_name(f"run-{kills}"))
        renames = iter(range(100))

        def replace(source: Any, place: Any, renames: Any = renames, kills: int = kills) -> None:
            if next(renames) == kills:
                raise Killed
            real(source, place)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            try:
                cli("purge", run, *options)
                break
            except Killed:
                pass
        told = {check.what: check.detail for check in verify(run, source_model=False) if not check.passed}
        assert not told or any("`efface purge`" in detail for detail in told.values()), told
        stopped += [kills] if "pending/" in told else []
        assert cli("purge", run, *options).code == 0
        assert [check for check in verify(run, source_model=False) if not check.passed] == []
        assert bool(read_record(run).config.purged) == bool(options)
        assert not list(run.glob(".*.tmp"))
        assert not (run / "work").exists()
    assert len(stopped) >= 2


def test_only_a_finished_and_untouched_run_is_purged_of_names(copied: Path) -> None:
    def purge(run: Path) -> None:
        with RunFolder(run, open_run(run)) as held:
            purge_config(held)

    text = (copied / "config.yaml").read_text(encoding="utf-8")
    (copied / "config.yaml").write_text(text.replace("Art. 17", "Art. 18"), encoding="utf-8")
    with pytest.raises(Mismatch, match="not what was sealed"):
        purge(copied)
    (copied / "config.yaml").write_text(text, encoding="utf-8")
    (copied / "seal.json").unlink()
    with pytest.raises(InputError, match="is not finished, and goes on by its config"):
        purge(copied)
    assert (copied / "config.yaml").read_text(encoding="utf-8") == text


def test_a_request_that_names_the_person_is_held_against_the_config_by_its_key(
    forgotten: RunResult, tmp_path: Path
) -> None:
    what = "what was asked, in record.json"

    def said(run: Path, key: Path | None = None) -> tuple[str, str]:
        return next((check.outcome, check.detail) for check in verify(run, key=key) if check.what == what)

    assert said(forgotten.run)[0] == "matches"
    copy = shutil.copytree(forgotten.run, tmp_path / "copy")
    (copy / "run.key").rename(tmp_path / "kept.key")
    assert said(copy)[0] == "not checked"
    assert "--key FILE" in said(copy)[1]
    assert said(copy, tmp_path / "kept.key")[0] == "matches"


def test_a_key_that_is_a_pipe_is_refused(forgotten: RunResult, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        verify(forgotten.run, key=tmp_path / "pipe")


def test_a_run_that_was_purged_of_names_is_not_continued(copied: Path) -> None:
    config = open_run(copied)
    with RunFolder(copied, config) as run:
        purge_config(run)
    with pytest.raises(RunRefused, match="was purged of names") as caught, RunFolder(copied, config):
        pass
    assert not any(name in str(caught.value).lower() for name in NAMES)
