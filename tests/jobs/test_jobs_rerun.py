"""A run's model trained again: the same weights from the same things, and a plain word where something is unlike."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import efface
from efface.errors import InputError
from efface.jobs.rerun import rerun
from efface.jobs.run import RunResult
from efface.runs.record import Record, read_record, write_record
from support.classifier_fixtures import Story
from support.run_fixtures import CommandLine
from support.run_making import SHORT, make_model


@pytest.fixture
def unlearned(finished: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def unchanged_source(run: Path) -> Record:
    """The record, as if it had been written by a source without changes."""
    record = read_record(run)
    environment = record.environment.model_copy(
        update={"source": record.environment.source.model_copy(update={"changed": False})}
    )
    return write_record(run, record.model_copy(update={"environment": environment}))


def test_a_run_trained_again_gives_the_same_weights_and_leaves_nothing(
    finished: RunResult, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for run in (finished.run, story.unlearned.run, story.retrained.run):
        check = rerun(run)
        assert (check.outcome, check.detail) == ("matches", "")
    assert os.listdir(tmp_path) == []


def test_other_weights_differ_where_all_is_alike_and_else_are_not_checked(
    unlearned: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = unchanged_source(unlearned)
    environment = record.environment
    after = record.model.after.model_copy(update={"weights": "0" * 64})
    write_record(
        unlearned, record.model_copy(update={"model": record.model.model_copy(update={"after": after})})
    )
    monkeypatch.setattr("efface.jobs.rerun.environment", lambda: environment)
    check = rerun(unlearned)
    assert (check.outcome, check.detail) == ("differs", "the largest difference of a weight is 0")
    packages = {**environment.packages, "torch": "1.0"}
    monkeypatch.setattr(
        "efface.jobs.rerun.environment", lambda: environment.model_copy(update={"packages": packages})
    )
    check = rerun(unlearned)
    assert check.outcome == "not checked"
    assert f"torch {environment.packages['torch']} then, 1.0 now" in check.detail
    assert "the largest difference of a weight is 0" in check.detail


def test_another_model_and_other_images_are_refused(unlearned: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the one with which the run began"):
        rerun(unlearned, model=str(make_model(tmp_path / "other", seed=3)))
    with pytest.raises(InputError, match=r"the images are not those of the run.*forget"):
        rerun(unlearned, {"forget": ["label:dogs"]})


def test_models_and_images_may_lie_elsewhere(
    unlearned: Path, tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    images = shutil.copytree(photos, tmp_path / "photos")
    outcome = cli("verify", unlearned, "--rerun", "--model", model, "--images", images, "--json")
    assert outcome.code == 0
    (check,) = [check for check in json.loads(outcome.out)["checks"] if "trained again" in check["what"]]
    assert check["outcome"] == "matches"


def test_an_exact_run_takes_one_thread_and_full_precision_and_says_so(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        settings = {**SHORT, "training": {**SHORT["training"], "precision": "auto"}}
        result = efface.unlearn(
            tiny, forget=photos / "cats", retain=photos / "dogs", out=tmp_path / "run", exact=True, **settings
        )
        assert torch.get_num_threads() == 2
        assert result.record.environment.threads == 1
        assert result.record.training.precision == "fp32"
        assert rerun(result.run).outcome == "matches"
    finally:
        torch.set_num_threads(before)
    with pytest.raises(InputError, match=r"exact: .*fp32"):
        efface.unlearn(
            tiny, forget=photos / "cats", retain=photos / "dogs", out=tmp_path / "other", exact=True,
            training={"precision": "bf16"},
        )  # fmt: skip


def test_what_trained_nothing_cannot_be_trained_again(story: Story, tmp_path: Path) -> None:
    run = Path(shutil.copytree(story.unlearned.run, tmp_path / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(InputError, match="does not hold the settings of the run"):
        rerun(run)
