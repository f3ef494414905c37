"""The pages of real finished runs of every kind: what their records say, they say."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

import efface
from efface.jobs.unlearning import UnlearnResult
from efface.reports.page import write_report
from efface.runs.record import Record, read_record
from support.classifier_fixtures import Story
from support.run_making import SHORT


@pytest.fixture(scope="session")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, finished: UnlearnResult, tiny: Path, photos: Path
) -> Path:
    """An evaluation of the finished run's models."""
    return efface.evaluate(
        tiny, finished.model, forget="label:cats", neutral="label:birds", images=photos,
        out=tmp_path_factory.mktemp("runs") / "evaluated", evaluation=SHORT["evaluation"],
    ).run  # fmt: skip


@pytest.fixture
def runs(finished: UnlearnResult, evaluated: Path, story: Story) -> list[Path]:
    """An unlearned generator and classifier, and an evaluation."""
    return [finished.run, story.unlearned.run, evaluated]


def page_of(run: Path) -> str:
    return html.unescape(write_report(run).read_text(encoding="utf-8"))


def told(record: Record) -> list[str]:
    """What a page must say of a record."""
    images = [f"{facts.count} " for facts in record.images.sets.values()]
    digests = [facts.sha256 for facts in record.images.sets.values()]
    models = [model.weights for model in (record.model.before, record.model.after, record.retrained) if model]
    results = list(record.results.files.values()) if record.results else []
    words = [record.claim.words, *record.risks, *record.limits, *record.notes]
    return [*words, *images, *digests, *models, *results, record.config.sha256, record.digest]


def test_a_page_says_what_its_record_holds(runs: list[Path]) -> None:
    for run in runs:
        page, record = page_of(run), read_record(run)
        assert [text for text in told(record) if text not in page] == [], run


def test_a_page_says_how_many_weight_tensors_were_trained(finished: UnlearnResult, story: Story) -> None:
    generator, classifier = finished.record.training, story.unlearned.record.training
    assert 0 < generator.changed_tensors < generator.tensors
    text = f"{generator.changed_tensors} of {generator.tensors} weight tensors trained"
    assert text in page_of(finished.run)
    text = f"{classifier.changed_tensors} of {classifier.tensors} weight tensors changed"
    assert text in page_of(story.unlearned.run)


def test_a_page_names_every_setting_of_the_training(finished: UnlearnResult, story: Story) -> None:
    settings = finished.record.training.settings.as_dict()
    page = page_of(finished.run)
    assert [
        name
        for name, value in settings.items()
        if value is not None and name not in ("steps", "precision") and name.replace("_", " ") not in page
    ] == []
    page = page_of(story.unlearned.run)
    assert [
        name
        for name in story.unlearned.record.training.recipe.as_dict()
        if name.replace("_", " ") not in page
    ] == []
