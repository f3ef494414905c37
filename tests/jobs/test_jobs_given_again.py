"""A finished run that is given again: nothing to do if it is the same request, refused if it is another one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import RunRefused
from efface.jobs.run import RunResult
from efface.runs.verification import verify
from support.classifier_fixtures import SETTINGS, SMALL, Digits
from support.run_fixtures import CommandLine
from support.run_making import SHORT, SHORT_OPTIONS, make_model, save_photo

SHORTEST: dict[str, Any] = {**SHORT, "training": {**SHORT["training"], "steps": 1}}


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    """A copy of the photographs that a test may change."""
    return shutil.copytree(photos, tmp_path / "photos")


def forget_cats(photos: Path, out: Path, model: Path) -> RunResult:
    return efface.unlearn(
        model, images=photos, forget="label:cats", neutral="label:birds", out=out, **SHORTEST
    )


def one_more(photos: Path) -> None:
    save_photo(photos / "cats" / "new.png", 7)


def one_less(photos: Path) -> None:
    (photos / "dogs" / "dogs-0.png").unlink()


def another(photos: Path) -> None:
    save_photo(photos / "birds" / "birds-0.png", 8)


def damaged(photos: Path) -> None:
    (photos / "cats" / "cats-1.png").write_bytes(b"no picture")


def emptied(photos: Path) -> None:
    shutil.rmtree(photos)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_more, "forget: 3 images when the run began, 4 now"),
        (one_less, "retain: 5 images when the run began, 4 now"),
        (another, "neutral: 2 images when the run began, 2 now"),
        (damaged, "cats-1.png"),
        (emptied, "no such"),
    ],
)
def test_other_images_are_refused(
    change: Callable[[Path], None], said: str, own: Path, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "model")
    run = forget_cats(own, tmp_path / "run", model)
    assert forget_cats(own, tmp_path / "run", model).record == run.record
    change(own)
    with pytest.raises(RunRefused, match="is finished, and what is given now was not done") as refusal:
        forget_cats(own, tmp_path / "run", model)
    assert said in str(refusal.value)
    assert all(check.passed for check in verify(run.run)), "the finished run is as it was"


def test_another_model_is_refused(own: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    forget_cats(own, tmp_path / "run", model)
    make_model(model, seed=1)
    with pytest.raises(RunRefused, match="the model is no longer the one with which this run began"):
        forget_cats(own, tmp_path / "run", model)


def test_a_training_and_an_evaluation_are_refused_alike(digits: Digits, tmp_path: Path) -> None:
    images = shutil.copytree(digits.train, tmp_path / "images")
    trained = efface.train(images, out=tmp_path / "trained", **SMALL)

    def evaluate() -> RunResult:
        return efface.evaluate(
            trained.model,
            images=images,
            forget="label:3",
            neutral=digits.test,
            out=tmp_path / "e",
            **SETTINGS,
        )

    evaluate()
    (images / "2" / "000.png").unlink()
    with pytest.raises(RunRefused, match="retain: 120 images when the run began, 119 now"):
        efface.train(images, out=tmp_path / "trained", **SMALL)
    with pytest.raises(RunRefused, match="retain: 90 images when the run began, 89 now"):
        evaluate()


def test_the_same_request_in_another_folder_is_said_to_be_the_same(
    own: Path, tmp_path: Path, cli: CommandLine
) -> None:
    model = make_model(tmp_path / "model")
    command = ["unlearn", model, "--images", own, "--forget", "label:cats", *SHORT_OPTIONS]
    first = cli(*command, "--out", tmp_path / "one", "--set", "training.steps=1")
    again = cli(*command, "--out", tmp_path / "two", "--set", "training.steps=1")
    said = f"this is the same request as that of {tmp_path / 'one'}, which is finished"
    assert (first.code, again.code) == (0, 0)
    assert said in again.err
    assert "this is the same request" not in first.err
