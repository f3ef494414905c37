"""Closer to retrained: planted failures lie on the original's side, a second retraining on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from efface.errors import InputError
from efface.evaluation.settings import EvaluationSettings
from efface.metrics.base import ModelKind
from efface.probes.closer_to_retrained import CloserToRetrained
from efface.probes.findings import Findings
from efface.probes.subject import AnySubject
from efface.runs.requirements import Requirement, judge
from support.labelled_subjects import labelled_world
from support.subjects import forgetting
from support.trained_subjects import figure

FIGURE = "closer-to-retrained"
PROBE = CloserToRetrained()


def classifiers(unlearned: str, forget: int = 20) -> AnySubject:
    world = labelled_world(forget=forget, neutral=10)
    chosen = world.retrained(seed=1) if unlearned == "second" else getattr(world, unlearned)()
    return world.subject({"original": world.original(), "unlearned": chosen, "retrained": world.retrained()})


@pytest.mark.parametrize("subject", [lambda: forgetting("second"), lambda: classifiers("second")])
def test_a_second_retraining_is_closer_to_the_retrained_model(subject) -> None:
    findings = PROBE.ask(subject())
    ends = [figure(findings, FIGURE, model) for model in ("original", "unlearned", "retrained")]
    assert ends[1].low > 0
    assert ends[0].high < 0 < ends[2].low
    assert ends[1].value == pytest.approx(ends[2].value, rel=0.05)
    assert ends[0].value == pytest.approx(-ends[2].value)


@pytest.mark.parametrize("subject", [lambda: forgetting("original"), lambda: classifiers("original")])
def test_a_model_that_forgot_nothing_is_closer_to_the_original(subject) -> None:
    finding = figure(PROBE.ask(subject()), FIGURE)
    assert finding.high < 0
    assert "p = 1 " in finding.note


def test_crops_of_a_photo_count_as_one_row() -> None:
    subject = forgetting("second", count=8, crops_per_image=3, crops=(1, 3))
    finding = figure(PROBE.ask(subject), FIGURE)
    assert finding.n == 8


def test_its_own_value_is_judged_and_few_photos_are_no_evidence() -> None:
    def state(subject: AnySubject, findings: Findings) -> str:
        bound = [f"{FIGURE}>=0"]
        settings = EvaluationSettings()
        (judged,) = judge(bound, subject.kind, subject.evaluation, subject.sets, findings, settings)
        return judged.state

    for unlearned, wanted in (("second", "met"), ("original", "not met")):
        subject = classifiers(unlearned)
        assert state(subject, PROBE.ask(subject)) == wanted
    few = classifiers("second", forget=4)
    assert state(few, PROBE.ask(few)) == "not measurable"


def test_it_needs_both_ends() -> None:
    subject = classifiers("second")
    for missing in ("original", "retrained"):
        models = {name: model for name, model in subject.models.items() if name != missing}
        finding = PROBE.ask(replace(subject, models=models)).figures[0]
        assert finding.note == f"not measurable: there is no {missing} model"
    assert np.isfinite(figure(PROBE.ask(subject), FIGURE).value)


@pytest.mark.parametrize("kind", ["generator", "classifier"])
@pytest.mark.parametrize(
    "bare", ["closer-to-retrained<=0.05", "closer-to-retrained", "closer-to-retrained above 0"]
)
def test_a_requirement_on_it_is_a_bound_from_below(kind: ModelKind, bare: str) -> None:
    with pytest.raises(InputError, match=r"write it as closer-to-retrained>=0$"):
        Requirement.parse(bare, kind)
    assert not Requirement.parse("closer-to-retrained>=0", kind).at_most


def with_yardstick(unlearned: str) -> AnySubject:
    world = labelled_world(forget=20, neutral=10)
    chosen = world.retrained(seed=1) if unlearned == "second" else getattr(world, unlearned)()
    models = {"original": world.original(), "unlearned": chosen, "retrained": world.retrained()}
    return replace(world.subject(models), yardstick=world.retrained(seed=2))


def test_another_retraining_is_no_farther_than_the_yardstick_and_the_original_is() -> None:
    likely = figure(PROBE.ask(with_yardstick("second")), "like-another-retraining")
    unlikely = figure(PROBE.ask(with_yardstick("original")), "like-another-retraining")
    assert unlikely.value < 0.05 < likely.value
    assert unlikely.low < unlikely.value < unlikely.high < 0.05
    missing = figure(PROBE.ask(classifiers("second")), "like-another-retraining")
    assert missing.note == "not measurable: there is no second retrained model (--yardstick)"


def test_a_requirement_is_held_back_where_another_retraining_is_nearer() -> None:
    subject = with_yardstick("second")
    findings = PROBE.ask(subject)
    for p_value, wanted in ((0.04, "not met"), (0.05, "met")):
        figures = tuple(
            replace(one, value=p_value) if one.figure == "like-another-retraining" else one
            for one in findings.figures
        )
        (judged,) = judge(
            [f"{FIGURE}>=0"], subject.kind, subject.evaluation, subject.sets,
            replace(findings, figures=figures), EvaluationSettings(),
        )  # fmt: skip
        assert judged.state == wanted
        assert ("farther from the retrained model than another retraining is" in judged.words) == (
            wanted == "not met"
        )
