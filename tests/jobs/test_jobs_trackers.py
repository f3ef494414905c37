"""Trackers that follow a run: they get numbers, the same run goes on there, and none of them can stop a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError
from efface.progress import Progress
from efface.runs.config import deciding_digest, differences
from efface.runs.verification import verify
from efface.training.trackers import OPENED, Trackers, following, public_name, refuse_missing
from support.classifier_fixtures import FINE_TUNE, SETTINGS, Story
from support.run_making import SHORT

KEY = bytes(32)


class Fake:
    """A tracker that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def start(self) -> None: ...

    def log(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    tracker = Fake()
    monkeypatch.setattr("efface.training.trackers.OPENED", {**OPENED, "wandb": lambda *_: tracker})
    monkeypatch.setattr("efface.training.trackers.PACKAGES", {"wandb": "json"})
    return tracker


def test_losses_of_a_generator_are_followed_and_the_run_is_as_without(
    tiny: Path, photos: Path, tmp_path: Path, fake: Fake, finished: Any
) -> None:
    training = {**SHORT["training"], "trackers": ["wandb"]}
    run = efface.unlearn(
        tiny, forget="label:cats", neutral="label:birds", images=photos, out=tmp_path / "run", request={"id": "7"},
        **{**SHORT, "training": training},
    )  # fmt: skip
    assert [step for step, _ in fake.told] == [1, 2, 3, 4, 5, 6]
    assert {type(value) for _, values in fake.told for value in values.values()} == {float}
    assert "unlearn/loss" in fake.told[0][1]
    assert fake.finished
    assert run.record.config.sha256 == finished.record.config.sha256
    assert run.record.model.after.weights == finished.record.model.after.weights
    assert {check.outcome for check in verify(run.run)} == {"matches"}


def test_losses_of_a_classifier_are_followed(story: Story, tmp_path: Path, fake: Fake) -> None:
    images = story.digits.train
    forget = next(path for path in sorted(images.rglob("*.png")))
    efface.unlearn(
        story.original.model, images=images, forget=str(forget), method=FINE_TUNE, out=tmp_path / "run",
        training={"trackers": "wandb"}, **SETTINGS,
    )  # fmt: skip
    assert fake.told
    assert all(re.fullmatch(r"[\w -]+/loss", name) for _, values in fake.told for name in values)


def test_what_tensorboard_writes_holds_no_name_and_no_path(tiny: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = efface.unlearn(
        tiny, forget="label:cats", images=photos, out=tmp_path / "jane-doe",
        **{**SHORT, "training": {**SHORT["training"], "trackers": ["tensorboard"]}},
    ).run  # fmt: skip
    (events,) = (run / "tracking").rglob("events*")
    told = events.read_bytes()
    key = (run / "run.key").read_text().strip()
    ids = [line for path in (run / "manifests").iterdir() for line in path.read_text().splitlines()]
    for word in (
        b"cats",
        b"jane",
        b".png",
        str(tmp_path).encode(),
        key.encode(),
        *(line[8:40].encode() for line in ids),
    ):
        assert word not in told
    read = EventAccumulator(str(events)).Reload()
    assert [one.step for one in read.Scalars("unlearn/loss")] == [1, 2, 3, 4, 5, 6]
    assert {check.outcome for check in verify(run)} == {"matches"}


def test_a_run_that_goes_on_tells_the_steps_behind_its_checkpoint_once_more(
    tmp_path: Path, fake: Fake
) -> None:
    for first in (1, 3):
        with following(("wandb",), tmp_path, tmp_path, KEY, print) as trackers:
            assert trackers
            for step in range(first, 5):
                trackers(1, "second", step, 4, {"loss": 0.5})
            trackers(2, "second", 1, 2, {"loss": float("nan"), "norm": 1.0})
    assert [step for step, _ in fake.told] == [1, 2, 3, 4, 5, 3, 4, 5]
    assert fake.told[-1][1] == {"second/norm": 1.0}


def test_the_name_of_a_run_tells_nothing_without_its_key() -> None:
    assert public_name(KEY) == public_name(KEY) != public_name(b"1" * 32)
    assert re.fullmatch(r"run-[0-9a-f]{12}", public_name(KEY))


def test_a_tracker_that_fails_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise ConnectionError("no route to the server")

    monkeypatch.setattr("efface.training.trackers.OPENED", {"mlflow": down})
    notes: list[str] = []
    trackers = Trackers(("mlflow",), tmp_path, tmp_path / "state.json", "run-1", notes.append)
    for step in (1, 2):
        trackers(0, "unlearn", step, 2, {"loss": 1.0})
    trackers.finish()
    assert notes == ["the tracker mlflow failed, and the run goes on without it: no route to the server"]


def test_what_is_not_installed_is_refused_before_anything_starts(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "efface.training.trackers.PACKAGES", {"wandb": "no_such_package", "mlflow": "neither.this"}
    )
    with pytest.raises(InputError, match=r"(?s)wandb: .*efface\[trackers\].*mlflow: "):
        refuse_missing(("wandb", "mlflow"))
    with pytest.raises(InputError, match="nothing was started"):
        efface.unlearn(
            tiny, forget="label:cats", images=photos, out=tmp_path / "run",
            **{**SHORT, "training": {**SHORT["training"], "trackers": ["wandb"]}},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_trackers_decide_nothing_and_may_be_named_when_a_run_goes_on() -> None:
    one = {"training": {"steps": 3, "trackers": ["wandb"]}, "seed": 1}
    other = {"training": {"steps": 3}, "seed": 1}
    assert deciding_digest(one) == deciding_digest(other)
    assert deciding_digest({"training": {"trackers": ["wandb"]}, "seed": 1}) == deciding_digest({"seed": 1})
    assert not differences(one, other)
    assert differences({"training": {"steps": 4}}, other)
    assert Progress().tracker is None
