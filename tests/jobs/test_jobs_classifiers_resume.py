"""Runs on classifiers that were killed, crashed or stopped, and continued: the same result as without."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import efface
from efface.errors import InputError, RunRefused, Stopped
from efface.jobs import classifier, concluding
from efface.jobs import run as skeleton
from efface.jobs.run import RunResult
from efface.runs.erasing import working_files
from efface.runs.verification import verify
from efface.training import classification
from efface.training.classification import CHECKPOINT
from support.classifier_fixtures import SMALL, Digits, Story

Forget = Callable[..., RunResult]


class Crash(BaseException):
    """Ends a run as nothing that efface expects does."""


def die_after(steps: int, how: Callable[[], None]) -> Callable[..., Any]:
    """The loop's step, which does `how` once so many steps are made."""
    step, made = classification._Loop._step, [0]

    def stepped(*arguments: Any) -> Any:
        done = step(*arguments)
        made[0] += 1
        if made[0] == steps:
            how()
        return done

    return stepped


def crash() -> None:
    raise Crash


def same_result(one: RunResult, other: RunResult) -> bool:
    weights = [result.record.model.after.weights for result in (one, other)]
    return weights[0] == weights[1] and one.rows == other.rows


def test_a_run_stopped_by_sigterm_continues_to_the_same_bits(
    story: Story, forget_digits: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(
            classification._Loop, "_step", die_after(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        )
        with pytest.raises(Stopped, match="stopped by SIGTERM after step 5 of 14"):
            forget_digits(out)
    assert (out / "work" / CHECKPOINT).exists()
    result = forget_digits(out)
    assert same_result(result, story.unlearned)
    assert result.record.training.resumed_from == 5
    assert working_files(out) == []
    assert all(check.passed for check in verify(out))


def test_a_run_killed_between_checkpoints_continues_from_the_last(
    story: Story, forget_digits: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(classification, "CHECKPOINT_SECONDS", 0.0)
        patched.setattr(classification._Loop, "_step", die_after(9, crash))
        with pytest.raises(Crash):
            forget_digits(tmp_path / "run")
    result = forget_digits(tmp_path / "run")
    assert same_result(result, story.unlearned)
    assert result.record.training.resumed_from == 8


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (classifier, "save_model"),
        (classifier, "evaluate_classifiers"),
        (skeleton, "write_evaluation"),
        (concluding, "purge"),
        (concluding, "write_report"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_crashed_anywhere_continues_to_the_same_result(
    story: Story,
    forget_digits: Forget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, name, lambda *_, **__: crash())
        with pytest.raises(Crash):
            forget_digits(tmp_path / "run")
    result = forget_digits(tmp_path / "run")
    assert same_result(result, story.unlearned)
    assert all(check.passed for check in verify(result.run))


def test_a_stopped_training_continues_to_the_same_bits(
    story: Story, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            classification._Loop, "_step", die_after(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        )
        with pytest.raises(Stopped):
            efface.train(digits.train, out=tmp_path / "run", **SMALL)
    result = efface.train(digits.train, out=tmp_path / "run", **SMALL)
    weights = [run.record.model.after.weights for run in (result, story.original)]
    assert weights[0] == weights[1]
    assert result.record.training.resumed_from == 3


def test_a_run_is_not_continued_with_other_images_or_another_model(
    story: Story, forget_digits: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = shutil.copytree(story.digits.train, tmp_path / "train")
    model = shutil.copytree(story.original.model, tmp_path / "model")
    given: dict[str, Any] = {"images": images, "forget": "glob:3/00[0-7].png", "model": model}
    with monkeypatch.context() as patched:
        patched.setattr(classifier, "run_passes", lambda *_, **__: crash())
        with pytest.raises(Crash):
            forget_digits(tmp_path / "run", **given)
    Image.new("L", (8, 8), 99).save(images / "0" / "new.png")
    with pytest.raises(RunRefused, match="retain: 112 images when the run began, 113 now"):
        forget_digits(tmp_path / "run", **given)
    (images / "0" / "new.png").unlink()
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model / "model.safetensors")
    with pytest.raises(RunRefused, match="the model is no longer the one with which this run began"):
        forget_digits(tmp_path / "run", **given)


def test_the_same_call_on_a_finished_run_changes_nothing(story: Story, forget_digits: Forget) -> None:
    before = (story.unlearned.run / "record.json").read_bytes()
    assert forget_digits(story.unlearned.run).record.as_dict() == json.loads(before)
    assert (story.unlearned.run / "record.json").read_bytes() == before


def test_a_damaged_note_of_the_recipe_is_said_before_anything_is_made(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    model = shutil.copytree(story.original.model, tmp_path / "model")
    (model / "efface_training.json").write_text("{}")
    with pytest.raises(InputError, match="give the recipe in the config"):
        forget_digits(tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()
