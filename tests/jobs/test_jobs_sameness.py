"""Models with equal weights where a comparison takes them for different ones: never right is refused, odd is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError
from efface.jobs.run import RunResult
from efface.runs.verification import verify
from support.classifier_fixtures import SETTINGS, Story
from support.run_making import SHORT, make_model

SHORTEST: dict[str, Any] = {**SHORT, "training": {**SHORT["training"], "steps": 1}}


def test_the_original_is_no_reference_wherever_it_lies(tiny: Path, photos: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "retrained")
    sets: dict[str, Any] = {"images": photos, "forget": "label:cats", "retrained": copy}
    said = "the model given as retrained has the same weights as the original"
    with pytest.raises(InputError, match=said):
        efface.unlearn(tiny, out=tmp_path / "run", **sets, **SHORTEST)
    with pytest.raises(InputError, match=said):
        efface.evaluate(tiny, out=tmp_path / "run", evaluation=SHORT["evaluation"], **sets)
    assert not (tmp_path / "run").exists()
    assert any(said in fault for fault in efface.plan(tiny, **sets, **SHORTEST).faults)


def test_the_original_of_a_classifier_is_no_reference(story: Story, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the same weights as the original"):
        efface.unlearn(
            story.original.model,
            images=story.digits.train,
            forget=story.digits.forget,
            retrained=story.original.model,
            out=tmp_path / "run",
            **SETTINGS,
        )


def test_an_unlearned_model_that_is_another_one_is_said_to_be(
    finished: RunResult, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"images": photos, "forget": "label:cats", "evaluation": SHORT["evaluation"]}
    unchanged = efface.evaluate(tiny, tiny, out=tmp_path / "unchanged", **common)
    assert any(
        "the same weights as the original: nothing was forgotten" in note for note in unchanged.record.notes
    )
    twice = efface.evaluate(tiny, finished.model, retrained=finished.model, out=tmp_path / "twice", **common)
    assert any("the one given as retrained" in note for note in twice.record.notes)


def test_a_method_that_changed_nothing_is_said_to_have_forgotten_nothing(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    still = {**SHORTEST, "training": {**SHORTEST["training"], "learning_rate": 1e-60, "weight_decay": 0.0}}
    run = efface.unlearn(tiny, images=photos, forget="label:cats", out=tmp_path / "run", **still)
    assert any("nothing was forgotten" in risk for risk in run.record.risks)


def test_a_yardstick_is_another_retrained_model(
    finished: RunResult, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    retrained, again = (make_model(tmp_path / name, seed) for name, seed in (("retrained", 1), ("again", 2)))
    common: dict[str, Any] = {
        "images": photos,
        "forget": ["label:cats", "label:birds"],
        "evaluation": SHORT["evaluation"],
    }
    for copy, whose in ((tiny, "original"), (retrained, "retrained one")):
        with pytest.raises(InputError, match=f"given as yardstick has the same weights as the {whose}"):
            efface.evaluate(
                tiny, finished.model, retrained=retrained, yardstick=copy, out=tmp_path / "run", **common
            )
    with pytest.raises(InputError, match="yardstick: it is held against a retrained model"):
        efface.evaluate(tiny, finished.model, yardstick=again, out=tmp_path / "run", **common)
    assert not (tmp_path / "run").exists()
    said = efface.plan(tiny, retrained=retrained, yardstick=tiny, **common, method="encoder-noise").faults
    assert any("given as yardstick has the same weights" in fault for fault in said)

    require = ("closer-to-retrained>=0", "verdict=yes")
    given = {"retrained": retrained, "yardstick": again, "require": require}
    run = efface.evaluate(tiny, finished.model, out=tmp_path / "checked", **given, **common)
    facts = run.record.yardstick
    assert facts is not None
    assert run.record.sources["yardstick"] == facts.weights
    assert run.probes is not None
    found = run.probes.find("like-another-retraining")
    assert found is not None
    assert found.value is not None
    assert all(row.model != "yardstick" for row in run.rows)
    assert facts.weights in (run.run / "report.html").read_text()
    assert [one.requirement for one in run.requirements] == list(require)
    assert {check.outcome for check in verify(run.run, source_model=True)} <= {"matches", "not bound"}
