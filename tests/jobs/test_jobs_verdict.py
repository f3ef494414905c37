"""The verdict of whole runs: the same words everywhere, and right where the truth is known."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

import efface
from efface.cli.outcome import refuse_unmet, tell_run
from efface.errors import RequirementsNotMet
from efface.evaluation.results import find
from efface.evaluation.verdict import Verdict
from efface.jobs.kinds import read_config
from efface.jobs.plan import plan
from efface.jobs.run import RunResult
from efface.reports.compare_page import compare_runs
from efface.runs.verification import verify
from support.classifier_fixtures import SETTINGS, Story


def evaluated(story: Story, unlearned: Path, out: Path, **more: object) -> RunResult:
    given = {**SETTINGS, "retrained": story.retrained.model, **more}
    return efface.evaluate(
        story.original.model, unlearned, images=story.digits.train, forget=story.digits.forget,
        neutral=story.digits.test, out=out, **given,
    )  # fmt: skip


def said(result: RunResult) -> Verdict:
    assert result.verdict is not None
    return result.verdict


def test_file_record_page_console_and_json_say_the_same(
    finished: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = said(finished)
    assert (verdict.word, verdict.reason) == (
        "cannot be told",
        "No retrained model was measured beside the unlearned one.",
    )
    assert json.loads((finished.run / "verdict.json").read_text()) == verdict.as_dict()
    assert finished.record.verdict == verdict
    assert finished.record.results is not None
    assert "verdict.json" in finished.record.results.files
    page = html.unescape((finished.run / "report.html").read_text(encoding="utf-8"))
    assert "Is it gone? Cannot be told" in page
    assert verdict.reason in page
    assert verdict.specific.said in page
    tell_run(finished, False)
    assert f"Is it gone? {verdict.said}" in capsys.readouterr().out
    tell_run(finished, True)
    assert json.loads(capsys.readouterr().out)["verdict"] == verdict.as_dict()


def test_it_rests_on_the_figures_of_the_results(story: Story) -> None:
    verdict, rows = said(story.unlearned), story.unlearned.rows
    assert (verdict.figure, verdict.kept["retain"].metric) == ("confidence", "accuracy")
    row = find(rows, "unlearned", "forget", "confidence")
    assert row is not None
    assert verdict.to_retrained is not None
    found = verdict.to_retrained
    assert (found.value, found.low, found.high) == (row.distance, row.distance_low, row.distance_high)


def test_a_copy_of_the_original_is_no_yes_and_the_reference_itself_is(story: Story, tmp_path: Path) -> None:
    """Of eight photos a trained model of a thousand weights remembers too little for a word; a wide margin makes it one."""
    wide = {"resamples": 200, "margin": 0.9}
    copied = said(evaluated(story, story.original.model, tmp_path / "copied", evaluation=wide))
    assert copied.to_original is not None
    assert copied.to_original.value == 0
    assert copied.word in ("no", "cannot be told")
    itself = said(evaluated(story, story.retrained.model, tmp_path / "itself", evaluation=wide))
    assert itself.to_retrained is not None
    assert itself.to_retrained.value == 0
    assert itself.word in ("yes", "cannot be told")


def test_a_changed_verdict_is_found(finished: RunResult, tmp_path: Path) -> None:
    copied = Path(copytree(finished.run, tmp_path / "run"))
    values = json.loads((copied / "verdict.json").read_text())
    (copied / "verdict.json").write_text(json.dumps({**values, "word": "yes"}))
    outcomes = {check.what: check.outcome for check in verify(copied, source_model=False)}
    assert outcomes["verdict.json"] == "differs"


def test_a_ruined_model_ends_in_exit_code_6_by_itself(finished: RunResult) -> None:
    refuse_unmet(finished)
    ruined = replace(finished, verdict=said(finished).model_copy(update={"word": "ruined"}))
    with pytest.raises(
        RequirementsNotMet, match=r"The unlearned model is ruined\. The run itself is complete"
    ):
        refuse_unmet(ruined)


def test_a_plan_says_margin_and_ruin_and_a_comparison_the_verdicts(
    finished: RunResult, story: Story, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    images = {"images": str(photos), "forget": ["label:cats"], "neutral": ["label:birds"]}
    config = read_config("unlearn", {"model": str(tiny), "images": images, "evaluation": {"margin": 0.1}})
    assert any("within 10%" in note and "above 1.5 times" in note for note in plan(config).notes)
    runs = [evaluated(story, story.unlearned.model, tmp_path / name) for name in "ab"]
    page = compare_runs([run.run for run in runs], tmp_path / "compared.html").read_text(encoding="utf-8")
    assert page.count(f"<td>{said(runs[0]).title}") == 2
