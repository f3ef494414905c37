"""The pages of real finished runs of every kind: what their records say, they say."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

import efface
from efface.jobs.run import RunResult
from efface.reports.page import write_report
from efface.runs.record import Record, read_record
from support.classifier_fixtures import SETTINGS, Story
from support.family_runs import FamilyStory
from support.report_runs import Page
from support.run_making import SHORT

pytestmark = pytest.mark.draws


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Path,
    photos: Path,
    finished: RunResult,
    story: Story,
    stories: dict[str, FamilyStory],
) -> dict[str, Path]:
    """A generator of every family and a classifier, unlearned and evaluated, with and without a retrained model."""
    folder = tmp_path_factory.mktemp("pages")
    evaluated = efface.evaluate(
        tiny, finished.model, forget="label:cats", neutral="label:birds", images=photos,
        out=folder / "generator", evaluation=SHORT["evaluation"],
    )  # fmt: skip
    classified = efface.evaluate(
        story.original.model, story.unlearned.model, retrained=story.retrained.model, images=story.digits.train,
        forget=story.digits.forget, neutral=story.digits.test, out=folder / "classifier", **SETTINGS,
    )  # fmt: skip
    return {
        **{family: made.run.run for family, made in stories.items()},
        **{f"{family}, evaluated": made.evaluated.run for family, made in stories.items()},
        "no retrained model": finished.run,
        "no retrained model, evaluated": evaluated.run,
        "classifier": story.unlearned.run,
        "classifier, evaluated": classified.run,
    }


@pytest.fixture(scope="session")
def pages(runs: dict[str, Path]) -> dict[str, str]:
    return {kind: page_of(run) for kind, run in runs.items()}


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


def test_a_page_says_what_its_record_holds(runs: dict[str, Path], pages: dict[str, str]) -> None:
    for kind, page in pages.items():
        record = read_record(runs[kind])
        assert not Page(page).faults, kind
        # a risk begins a sentence of its own there
        assert [text for text in told(record) if text.casefold() not in page.casefold()] == [], kind


def test_a_page_says_how_many_weight_tensors_were_trained(
    runs: dict[str, Path], pages: dict[str, str]
) -> None:
    for kind, run in runs.items():
        training = read_record(run).training
        if kind.endswith("evaluated"):
            assert training is None
            continue
        assert 0 < training.changed_tensors <= training.tensors
        assert (training.changed_tensors < training.tensors) == (kind != "classifier"), "an encoder alone"
        done = "changed" if kind == "classifier" else "trained"
        assert f"{training.changed_tensors} of {training.tensors} weight tensors {done}" in pages[kind], kind


def test_a_page_names_every_setting_of_the_training(finished: RunResult, story: Story) -> None:
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
