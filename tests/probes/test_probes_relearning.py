"""Relearning: what comes back is seen, and a model that never knew does not look as if it did."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from efface.probes.findings import Findings
from efface.probes.relearning import Relearning, greatest_lead
from support.trained_subjects import World, digests, figure, world

PROBE = Relearning(steps=16, shots=2, learning_rate=0.005)
FIGURES = ("relearning-retain", "relearning-few")


@pytest.fixture(scope="module")
def made() -> World:
    return world(forget=8)


@cache
def answered(unlearned: str) -> Findings:
    made = world(forget=14)
    other = made.retrained(seed=1) if unlearned == "retrained" else getattr(made, unlearned)()
    return PROBE.ask(made.subject({"unlearned": other, "retrained": made.retrained()}))


def test_the_greatest_lead_is_taken_over_checkpoints_of_the_mean_over_images() -> None:
    own = np.log([[8.0, 1.0, 4.0], [2.0, 1.0, 1.0]])
    reference = np.log([[2.0, 2.0, 2.0], [2.0, 2.0, 8.0]])
    # means of the log ratio: -log(4)/2, log 2, (log 8 - log 2)/2
    lead = greatest_lead({"forget": np.stack([own, reference], axis=-1)})
    assert lead == pytest.approx(np.log(2))


def test_checkpoints_are_halves_of_halves_and_begin_before_the_first_step() -> None:
    assert Relearning(steps=64).checkpoints() == (0, 2, 4, 8, 16, 32, 64)
    assert Relearning(steps=3).checkpoints() == (0, 1, 2, 3)


@pytest.mark.parametrize(("unlearned", "least"), [("original", (2.0, 2.0)), ("hushed", (2.0, 0.3))])
def test_a_model_that_did_not_forget_or_only_hid_it_comes_back(
    unlearned: str, least: tuple[float, float]
) -> None:
    findings = answered(unlearned)
    for name, bound in zip(FIGURES, least, strict=True):
        finding = figure(findings, name)
        assert (finding.reference, finding.goal) == ("retrained", "low")
        assert finding.difference > bound
        assert finding.difference_low > 0


def test_the_curve_of_what_was_hidden_falls_from_where_little_was_known() -> None:
    curves = {(c.figure, c.model): c for c in answered("hushed").curves}
    hidden, never = (curves["relearning-retain", model] for model in ("unlearned", "retrained"))
    assert hidden.x == (0, 1, 2, 4, 8, 16)
    assert hidden.y[0] > 0.7 * never.y[0]
    assert min(hidden.y) < 0.1 * min(never.y)


@pytest.mark.parametrize("unlearned", ["retrained", "noisy"])
def test_a_retrained_model_and_one_that_holds_noise_do_not_come_back(unlearned: str) -> None:
    findings = answered(unlearned)
    for name in FIGURES:
        assert figure(findings, name).difference < 0.15
        assert figure(findings, name, "retrained").value == 0


def test_the_models_keep_their_weights_and_the_probe_repeats_itself(made: World) -> None:
    subject = made.subject({"original": made.original(), "retrained": made.retrained()})
    before, probe = digests(subject), Relearning(steps=2)
    first, second = probe.ask(subject), probe.ask(subject)
    assert digests(subject) == before
    assert not any(model.training for model in subject.models.values())
    assert first == second


def test_without_a_retrained_model_there_are_curves_and_a_reason(made: World) -> None:
    findings = Relearning(steps=1).ask(made.subject({"original": made.original(), "unlearned": made.noisy()}))
    assert [finding.value for finding in findings.figures] == [None, None]
    assert "no retrained model" in (figure(findings, "relearning-few").note or "")
    assert len(findings.curves) == 4


def test_a_set_that_is_missing_is_named(made: World) -> None:
    models = {"original": made.original(), "retrained": made.retrained()}
    one = made.sets["forget"].subset([0, 0])
    findings = PROBE.ask(made.subject(models, sets={"forget": one}))
    assert (
        figure(findings, "relearning-retain", "original").note == "not measurable: there are no retain images"
    )
    assert "two different" in (figure(findings, "relearning-few", "original").note or "")


def test_shots_are_not_measured_and_at_most_half_of_the_photos(made: World) -> None:
    subject = made.subject({"original": made.original()})
    shots, others = Relearning(shots=50).shots_of(subject)
    assert (len(shots), len(others)) == (4, 4)
    assert not set(shots.ids) & set(others.ids)


def test_measuring_on_the_way_does_not_change_the_training(made: World) -> None:
    subject = made.subject({"original": made.original()})
    watched, alone = (subject.copy_of(made.hushed()) for _ in range(2))
    seen = []
    subject.train(
        watched, made.sets["retain"], "some", steps=4, after=(1, 4),
        measure=lambda: seen.append((watched.training, subject.log_errors(watched, made.sets["forget"]).mean())),
    )  # fmt: skip
    subject.train(alone, made.sets["retain"], "some", steps=4)
    assert watched.weights_digest() == alone.weights_digest()
    assert [training for training, _ in seen] == [False, False]
    assert seen[1][1] == subject.log_errors(alone, made.sets["forget"]).mean()
