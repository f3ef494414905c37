"""Runs that were killed, crashed or stopped, and continued: the same result as without."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError, RunRefused
from efface.jobs import concluding, generator
from efface.jobs import run as skeleton
from efface.jobs.run import RunResult
from efface.runs.erasing import working_files
from efface.runs.folder import RunFolder, open_run
from efface.runs.verification import verify
from support.forked import Forked, command_line
from support.run_fixtures import CommandLine
from support.run_making import SHORT, SHORT_OPTIONS, save_photo

KILL_AT_STEP_4 = """
import os, signal
from efface.training import loop
save = loop.save_checkpoint
def save_then_die(folder, checkpoint):
    save(folder, checkpoint)
    if checkpoint.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
loop.save_checkpoint = save_then_die
"""
KILL_WHILE_WRITING = """
import os, signal
import torch
save, saved = torch.save, []
def die_half_way(content, path):
    save(content, path)
    saved.append(path)
    if len(saved) == 3:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = die_half_way
"""
KILL_IN_EVALUATION = """
import os, signal
from efface.evaluation import answers
batches = answers.view_batches
def die(images, *rest):
    yield next(batches(images, *rest))
    os.kill(os.getpid(), signal.SIGKILL)
answers.view_batches = die
"""


class Crash(BaseException):
    """Ends a run as nothing that efface expects does."""


@pytest.fixture
def call(tiny: Path, photos: Path) -> Callable[[Path], RunResult]:
    """The call of the `finished` run, into another folder."""

    def unlearn(out: Path) -> RunResult:
        return efface.unlearn(
            tiny,
            forget="label:cats",
            neutral="label:birds",
            images=photos,
            out=out,
            request={"id": "7"},
            **SHORT,
        )

    return unlearn


def same_result(one: RunResult, other: RunResult) -> bool:
    weights = [result.record.model.after.weights for result in (one, other)]
    files = [(result.run / "results.json").read_bytes() for result in (one, other)]
    return weights[0] == weights[1] and files[0] == files[1] and one.rows == other.rows


@pytest.mark.parametrize(
    ("before", "resumed_from"),
    [(KILL_AT_STEP_4, 4), (KILL_WHILE_WRITING, 2), (KILL_IN_EVALUATION, None)],
    ids=["in training", "while writing a checkpoint", "in evaluation"],
)
def test_a_killed_run_continues_to_the_same_result(
    call: Callable[[Path], RunResult],
    finished: RunResult,
    tiny: Path,
    photos: Path,
    tmp_path: Path,
    before: str,
    resumed_from: int | None,
) -> None:
    out = tmp_path / "run"
    sets = ("--images", str(photos), "--forget", "label:cats", "--neutral", "label:birds")
    options = (*sets, "--out", str(out), "--set", "request.id='7'", *SHORT_OPTIONS)
    process = Forked(tmp_path, command_line, ("unlearn", str(tiny), *options), before)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    assert not (out / "record.json").exists()
    assert working_files(out)
    assert (out / "model").is_dir() is (resumed_from is None)
    result = call(out)
    assert same_result(result, finished)
    assert result.record.training.resumed_from == resumed_from
    assert working_files(out) == []
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
    assert all(check.passed for check in verify(out))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (generator, "save_model"),
        (generator, "evaluate"),
        (skeleton, "write_evaluation"),
        (concluding, "purge"),
        (concluding, "write_record"),
        (concluding, "write_report"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_crashed_anywhere_continues_to_the_same_result(
    call: Callable[[Path], RunResult],
    finished: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(module, name, crash)
        with pytest.raises(Crash):
            call(tmp_path / "run")
    result = call(tmp_path / "run")
    assert same_result(result, finished)
    # what was removed before the crash is counted too
    assert result.record.working_files.removed >= finished.record.working_files.removed
    assert working_files(result.run) == []
    assert (result.run / "report.html").exists()
    assert all(check.passed for check in verify(result.run))


def test_an_interrupted_command_exits_with_4_and_continues(tiny: Path, photos: Path, tmp_path: Path) -> None:
    training = {**SHORT["training"], "steps": 80, "checkpoint_every": 50}
    settings = {"training": training, "evaluation": SHORT["evaluation"]}
    steps = ("--set", "training.steps=80", "--set", "training.checkpoint_every=50")
    sets = ("--forget", str(photos / "cats"), "--retain", str(photos / "dogs"))
    out = tmp_path / "run"
    command = ("unlearn", str(tiny), *sets, "--out", str(out), *SHORT_OPTIONS, *steps)
    process = Forked(tmp_path, command_line, command)
    deadline = time.monotonic() + 60
    while not (out / "log.jsonl").exists() or '"step": 3,' not in (out / "log.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    printed, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert printed == ""
    assert "stopped by SIGINT after step" in err
    assert "The same command continues." in err
    stopped = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()][-1]
    assert stopped["event"] == "stopped"
    assert 3 <= stopped["step"] < 80
    result = efface.unlearn(tiny, forget=photos / "cats", retain=photos / "dogs", out=out, **settings)
    assert result.record.training.resumed_from == stopped["step"]
    whole = efface.unlearn(
        tiny, forget=photos / "cats", retain=photos / "dogs", out=tmp_path / "whole", **settings
    )
    assert same_result(result, whole)


def test_an_interruption_outside_of_training_exits_with_4_too(
    tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ("--forget", photos / "cats", "--retain", photos / "dogs")
    command = ("unlearn", tiny, *sets, "--out", tmp_path / "run", *SHORT_OPTIONS)
    # a shell that started the tests in the background has them ignore the signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(generator, "evaluate", lambda *_, **__: signal.raise_signal(signal.SIGINT))
            outcome = cli(*command)
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.code == 4
    assert "Traceback" not in outcome.err
    assert "the same command continues" in outcome.err
    assert cli(*command).code == 0


def test_a_run_that_was_measured_is_concluded_without_the_images(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    data = shutil.copytree(photos, tmp_path / "data")
    sets: dict[str, Any] = {"model": tiny, "forget": data / "cats", "retain": data / "dogs"}
    with monkeypatch.context() as patched:
        patched.setattr(concluding, "write_record", crash)
        with pytest.raises(Crash):
            efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    shutil.rmtree(data)
    result = efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    assert result.record.images.sets["forget"].count == 3
    assert all(check.passed for check in verify(result.run))


def test_a_purged_unfinished_run_starts_from_its_beginning(
    call: Callable[[Path], RunResult],
    finished: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(generator, "save_model", crash)
        with pytest.raises(Crash):
            call(tmp_path / "run")
    with RunFolder(tmp_path / "run", open_run(tmp_path / "run")) as held:
        assert concluding.record_purge(held).removed >= 3
    assert working_files(tmp_path / "run") == []
    result = call(tmp_path / "run")
    assert result.record.training.resumed_from is None
    assert same_result(result, finished)


def _stopped_after_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sets: Any
) -> Callable[[], RunResult]:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    def call() -> RunResult:
        return efface.unlearn(**sets, out=tmp_path / "run", **SHORT)

    with monkeypatch.context() as patched:
        patched.setattr(generator, "evaluate", crash)
        with pytest.raises(Crash):
            call()
    return call


def test_a_run_does_not_go_on_with_other_images(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path / "data")
    call = _stopped_after_training(
        tmp_path, monkeypatch, model=tiny, forget="label:cats", images=tmp_path / "data"
    )
    added = save_photo(tmp_path / "data" / "dogs" / "new.png", 999)
    with pytest.raises(RunRefused) as caught:
        call()
    assert "retain: 7 images when the run began, 8 now" in str(caught.value)
    assert "forget" not in str(caught.value)
    added.unlink()
    assert call().record.images.sets["retain"].count == 7


def test_a_run_does_not_go_on_with_another_model(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.run_making import make_model

    model = shutil.copytree(tiny, tmp_path / "model")
    call = _stopped_after_training(
        tmp_path, monkeypatch, model=model, forget=photos / "cats", retain=photos / "dogs"
    )
    make_model(model, seed=1)
    with pytest.raises(RunRefused, match="the model is no longer the one with which this run began"):
        call()
    shutil.copytree(tiny, model, dirs_exist_ok=True)
    assert all(check.passed for check in verify(call().run))


def test_a_run_stays_with_its_config_when_an_image_is_gone(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path / "data")
    sets = {"forget": tmp_path / "data" / "cats", "retain": tmp_path / "data" / "dogs"}
    call = _stopped_after_training(tmp_path, monkeypatch, model=tiny, **sets)
    shutil.move(tmp_path / "data" / "cats", tmp_path / "moved")
    with pytest.raises(InputError):
        call()
    assert (tmp_path / "run" / "model").is_dir()
    os.rename(tmp_path / "moved", tmp_path / "data" / "cats")
    assert call().record.images.sets["forget"].count == 3
