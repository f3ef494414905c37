"""Probes, requirements and a declared substitute for classifiers, in `unlearn`, `evaluate` and `plan`."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError
from efface.jobs import classifier
from efface.jobs.kinds import read_config
from efface.jobs.plan import plan
from efface.jobs.run import RunResult
from efface.probes.registry import probes_of
from efface.probes.relearning import Relearning
from efface.runs.verification import verify
from support.classifier_fixtures import FINE_TUNE, SETTINGS, Story
from support.run_fixtures import CommandLine

Forget = Callable[..., RunResult]
SHORT = [
    "membership", "collateral", "perturbation", "closer-to-retrained",
    {"name": "relearning", "steps": 2},
    {"name": "after-handling"},
]  # fmt: skip
REQUIRE = [
    "retain-accuracy>=0.95x", "retain-accuracy>=0.1", "membership-loss<=-0.9", "forget-accuracy<=1.5x",
    "closer-to-retrained>=0",
]  # fmt: skip


class Killed(Exception):
    pass


@pytest.fixture(scope="session")
def judged(story: Story, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The story's run with all probes that take no settings of their own, and requirements."""
    return efface.unlearn(
        story.original.model, images=story.digits.train, forget=story.digits.forget, neutral=story.digits.test,
        retrained=story.retrained.model, method=FINE_TUNE, probes=SHORT, require=REQUIRE,
        out=tmp_path_factory.mktemp("runs") / "judged", **SETTINGS,
    )  # fmt: skip


def values(story: Story, **changed: Any) -> dict[str, Any]:
    images = {
        "images": str(story.digits.train),
        "forget": [str(story.digits.forget)],
        "neutral": [str(story.digits.test)],
        "copy_agreement": 1,
    }
    return {"model": str(story.original.model), "images": images, **changed}


def test_every_probe_that_was_asked_answers_for_every_model(judged: RunResult) -> None:
    asked = {probe if isinstance(probe, str) else probe["name"] for probe in SHORT}
    assert {probe.name for probe in judged.record.probes} == asked
    assert judged.probes is not None
    figures = {figure for name in asked for figure in probes_of("classifier")[name].figures["classifier"]}
    assert {finding.figure for finding in judged.probes.figures} == figures
    answered = [finding for finding in judged.probes.figures if finding.value is not None]
    assert {finding.model for finding in answered} == {"original", "unlearned", "retrained"}
    assert {curve.probe for curve in judged.probes.curves} >= {"relearning"}


def test_requirements_are_judged_by_the_figures_of_classifiers(judged: RunResult) -> None:
    accuracy = {
        row.model: row.value for row in judged.rows if (row.set, row.metric) == ("retain", "accuracy")
    }
    ratio, share, membership, forgotten, closer = judged.requirements
    assert [verdict.requirement for verdict in judged.requirements] == REQUIRE
    assert ratio.value == pytest.approx(accuracy["unlearned"] / accuracy["original"])
    assert (share.value, share.state) == (pytest.approx(accuracy["unlearned"]), "met")
    assert membership.state == "not met"
    assert forgotten.state in ("met", "not met", "not measurable")
    assert judged.probes is not None
    found = judged.probes.find("closer-to-retrained")
    assert found is not None
    assert closer.value == found.value


def test_record_page_and_verification_know_of_them(judged: RunResult) -> None:
    page = html.unescape((judged.run / "report.html").read_text(encoding="utf-8"))
    assert judged.record.requirements is not None
    for text in (
        *REQUIRE,
        judged.record.requirements.summary,
        *(probe.question for probe in judged.record.probes),
    ):
        assert text in page
    assert {"probes.json", "requirements.json"} <= set(judged.record.results.files)
    assert judged.record.durations.probes > 0
    assert all(check.passed for check in verify(judged.run))
    hits = {hit.name for hit in judged.probes.hits if hit.kind == "image"}
    keyed = {
        json.loads(line)["id"]
        for path in (judged.run / "manifests").glob("*.jsonl")
        for line in path.read_text().splitlines()
    }
    assert hits
    assert hits <= keyed


def test_asking_changes_no_weight_and_no_figure(judged: RunResult, story: Story) -> None:
    assert judged.record.model.after.weights == story.unlearned.record.model.after.weights
    assert judged.rows == story.unlearned.rows


def test_a_killed_run_does_not_ask_a_probe_a_second_time(
    forget_digits: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    asked: list[str] = []
    given = {"probes": ["membership", {"name": "relearning", "steps": 2}]}
    with monkeypatch.context() as patched:
        patched.setattr(Relearning, "run", killed)
        with pytest.raises(Killed):
            forget_digits(tmp_path / "run", **given)
    membership = probes_of("classifier")["membership"]
    run = membership.run
    monkeypatch.setattr(
        membership, "run", lambda self, subject: asked.append("membership") or run(self, subject)
    )
    result = forget_digits(tmp_path / "run", **given)
    assert asked == []
    assert result.probes is not None
    assert result.probes.find("membership-loss") is not None
    assert result.record.working_files.kept == []


def test_evaluating_a_run_asks_what_the_run_asked(
    judged: RunResult, cli: CommandLine, tmp_path: Path
) -> None:
    outcome = cli("evaluate", judged.run, "--out", tmp_path / "same", "--json")
    told = json.loads(outcome.out)
    before = json.loads((judged.run / "requirements.json").read_text())
    assert told["requirements"] == before
    assert told["probes"]["figures"] == json.loads((judged.run / "probes.json").read_text())["figures"]
    assert outcome.code == 6


def test_a_substitute_is_declared_in_the_place_of_a_retrained_model(
    forget_digits: Forget, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="a retrained model is given, so nothing stands in its place"):
        forget_digits(tmp_path / "run", substitute="unseen scans")
    run = forget_digits(
        tmp_path / "run", retrained=None, substitute="unseen scans", require="forget-accuracy<=1.1x"
    )
    assert run.record.substitute == "unseen scans"
    assert "Declared in place of a retrained model: unseen scans." in run.record.notes[-1]
    assert [verdict.state for verdict in run.requirements] == ["not measurable"]
    assert "unseen scans" in (run.run / "report.html").read_text(encoding="utf-8")


def test_probes_of_generators_are_refused_with_the_reason(story: Story) -> None:
    with pytest.raises(InputError) as refused:
        read_config("unlearn", values(story, probes=["membership", "extraction"]))
    assert "extraction questions generators, and this model is a classifier" in str(refused.value)
    with pytest.raises(InputError, match="unknown figure 'retain-error'"):
        read_config("unlearn", values(story, require="retain-error<=1.02x"))
    everything = read_config("unlearn", values(story, probes="all"))
    assert {probe.name for probe in everything.probes} == set(probes_of("classifier")) - {"poisoning"}
    cheap = read_config("unlearn", values(story, probes="cheap"))
    assert {probe.name for probe in cheap.probes} == {
        "membership",
        "collateral",
        "perturbation",
        "closer-to-retrained",
        "unmoved",
    }


def test_a_plan_tells_what_will_not_be_measurable_and_what_probes_take(story: Story) -> None:
    found = plan(
        read_config("unlearn", values(story, probes=["relearning"], require=["forget-accuracy<=1.1x"]))
    )
    assert found.faults == []
    assert "probe relearning: training of copies, not in the estimate" in found.notes
    assert any(
        risk.startswith(
            "requirement forget-accuracy<=1.1x will not be measurable: there is no retrained model"
        )
        for risk in found.risks
    )


def test_a_fault_of_the_second_model_leaves_the_folder_as_it_was(
    story: Story, forget_digits: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise InputError("these images do not fit")

    monkeypatch.setattr(classifier, "check_sets", refused)
    with pytest.raises(InputError, match="do not fit"):
        forget_digits(tmp_path / "run", probes="cheap")
    assert not (tmp_path / "run").exists()
