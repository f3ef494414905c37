"""Evaluation of models that are there already: the figures of the run that made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError
from efface.jobs.run import RunResult
from efface.runs.verification import verify
from support.run_making import SHORT, texts_of, with_note

SETS: dict[str, Any] = {"forget": "label:cats", "neutral": "label:birds"}


def test_evaluating_again_gives_the_figures_of_the_run(
    finished: RunResult, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    result = efface.evaluate(
        tiny, finished.model, images=photos, out=tmp_path / "run", evaluation=SHORT["evaluation"], **SETS
    )
    assert result.rows == finished.rows
    record = result.record
    assert (record.kind, record.method, record.model.after) == ("evaluation", None, None)
    assert record.claim.level == "empirical"
    assert set(record.sources) == {"original", "unlearned"}
    assert record.sources["unlearned"] == finished.record.model.after.weights
    assert {check.outcome for check in verify(result.run)} == {"matches"}
    assert set(record.as_dict()) == set(finished.record.as_dict())
    assert "label:cats" not in "".join(texts_of(result.run).values())


def test_figures_do_not_depend_on_the_evaluation_batch(
    finished: RunResult, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    result = efface.evaluate(
        tiny, finished.model, images=photos, out=tmp_path / "run", evaluation={**SHORT["evaluation"], "batch_size": 2},
        **SETS,
    )  # fmt: skip
    for row, before in zip(result.rows, finished.rows, strict=True):
        assert (row.model, row.set, row.metric) == (before.model, before.set, before.metric)
        assert row.value == (
            None if before.value is None else pytest.approx(before.value, rel=1e-4, abs=1e-7)
        )


def test_one_model_alone_can_be_measured(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = efface.evaluate(
        tiny, images=photos, out=tmp_path / "run", evaluation=SHORT["evaluation"], **SETS
    )
    assert {row.model for row in result.rows} == {"original"}
    assert {row.reference for row in result.rows} == {None}


def test_several_crops_are_recorded_in_every_row(tiny: Path, photos: Path, tmp_path: Path) -> None:
    evaluation = {**SHORT["evaluation"], "crops_per_image": 3}
    result = efface.evaluate(tiny, images=photos, out=tmp_path / "run", evaluation=evaluation, **SETS)
    assert {row.crops for row in result.rows} == {3}
    assert {row.n for row in result.rows if row.set == "forget"} == {3}


def test_views_are_those_that_the_model_learnt_and_the_page_says_so(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    model = with_note(tiny, tmp_path / "model", scale=[0.9, 1.0], flip=False)
    evaluation = {**SHORT["evaluation"], "crops_per_image": 2}
    learnt = efface.evaluate(model, images=photos, out=tmp_path / "learnt", evaluation=evaluation, **SETS)
    assert {row.crop_scale for row in learnt.rows} == {"0.9 to 1"}
    assert not [risk for risk in learnt.record.risks if "views" in risk]
    assert learnt.record.evaluation is not None
    views = learnt.record.evaluation.views
    assert views is not None
    assert views.learnt is not None
    assert (views.learnt.scale, views.learnt.flip, views.learnt.per_image) == ((0.9, 1.0), False, None)
    # made photos are 48 by 40: no square covers 0.9 of that, and the whole is no wider than 4 to 3
    assert views.area == 1.0
    page = (learnt.run / "report.html").read_text(encoding="utf-8")
    for words in (
        "2 views of each (0.9 to 1 of its area)",
        "the central view, 100% of an image",
        "and 1 random crop of 0.9 to 1 of it",
        "trained on crops of 0.9 to 1 of an image",
    ):
        assert words in page, words
    named = {**evaluation, "crop_scale": [0.2, 0.5]}
    other = efface.evaluate(model, images=photos, out=tmp_path / "other", evaluation=named, **SETS)
    assert {row.crop_scale for row in other.rows} == {"0.2 to 0.5"}
    assert any(
        "views cover 0.2 to 0.5 of an image's area, and the model" in risk for risk in other.record.risks
    )
    before, after = ([row.value for row in run.rows if row.metric == "hole_mse"] for run in (learnt, other))
    assert before != after


def test_models_that_are_not_there_are_named_together_and_leave_no_folder(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        efface.evaluate(
            tmp_path / "a",
            tmp_path / "b",
            retrained=tmp_path / "c",
            images=photos,
            out=tmp_path / "run",
            **SETS,
        )
    assert len(caught.value.problems) == 3
    assert not (tmp_path / "run").exists()


def test_a_finished_evaluation_is_not_done_again(tiny: Path, photos: Path, tmp_path: Path) -> None:
    first = efface.evaluate(tiny, images=photos, out=tmp_path / "run", evaluation=SHORT["evaluation"], **SETS)
    written = (first.run / "record.json").stat().st_mtime_ns
    efface.evaluate(tiny, images=photos, out=tmp_path / "run", evaluation=SHORT["evaluation"], **SETS)
    assert (first.run / "record.json").stat().st_mtime_ns == written
