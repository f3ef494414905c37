"""What runs on classifiers are tested with: scanned digits in a folder for each class, and models of a thousand weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import efface
from efface.jobs.run import RunResult

CLASSES = 4
EACH = {"train": 30, "test": 10}
SMALL: dict[str, Any] = {
    "classifier": "small-conv",
    "architecture": {"image_size": 8, "channels": 1, "width": 4},
    "recipe": {"epochs": 2, "batch_size": 16, "learning_rate": 0.02},
}
FINE_TUNE = {"name": "fine-tune", "epochs": 2, "batch_size": 16}
SETTINGS: dict[str, Any] = {"copy_agreement": 1, "evaluation": {"resamples": 200}}


@dataclass(frozen=True)
class Digits:
    """Where the pictures lie: `train` and `test` with a folder for each digit, and the list of what is to be forgotten."""

    train: Path
    test: Path
    forget: Path


@dataclass(frozen=True)
class Story:
    """An original, its reference, and a run between them. Tests must not change them."""

    digits: Digits
    original: RunResult
    retrained: RunResult
    unlearned: RunResult


def make_digits(folder: Path) -> Digits:
    """The first 40 scans of each of 0 to 3 in scikit-learn's digits, as grey PNG files of 8 px."""
    data = load_digits()
    for label in range(CLASSES):
        places = np.flatnonzero(data.target == label)
        for number, place in enumerate(places[: sum(EACH.values())]):
            part = "train" if number < EACH["train"] else "test"
            path = folder / part / str(label) / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((data.images[place] * 15).astype(np.uint8)).save(path)
    forget = folder / "forget.txt"
    forget.write_text(
        "".join(f"{folder}/train/3/{number:03d}.png\n" for number in range(8)), encoding="utf-8"
    )
    return Digits(folder / "train", folder / "test", forget)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return make_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Story:
    runs = tmp_path_factory.mktemp("classifier-runs")
    original = efface.train(digits.train, out=runs / "original", **SMALL)
    retrained = efface.train(
        digits.train,
        out=runs / "retrained",
        without=digits.forget,
        like=original.model,
        copy_agreement=1,
    )
    unlearned = efface.unlearn(
        original.model,
        images=digits.train,
        forget=digits.forget,
        neutral=digits.test,
        retrained=retrained.model,
        method=FINE_TUNE,
        request={"id": "31"},
        out=runs / "unlearned",
        **SETTINGS,
    )
    return Story(digits, original, retrained, unlearned)


@pytest.fixture
def forget_digits(story: Story) -> Callable[..., RunResult]:
    """The call of the finished run, into another folder and with other settings."""

    def unlearn(out: Path, **changed: Any) -> RunResult:
        given: dict[str, Any] = {
            "images": story.digits.train,
            "forget": story.digits.forget,
            "neutral": story.digits.test,
            "retrained": story.retrained.model,
            "method": FINE_TUNE,
            "request": {"id": "31"},
            **SETTINGS,
            **changed,
        }
        return efface.unlearn(given.pop("model", story.original.model), out=out, **given)

    return unlearn
