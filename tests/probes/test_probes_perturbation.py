"""Perturbation: a forgetting that a few grey levels undo is found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.probes.perturbation import Perturbation, _mirrored, _noise, _shift
from efface.randomness import Draws
from support.subjects import ForgetsWhere, Pictures, forgetting, nearest, numbered, subject, views_of

PROBE = Perturbation(draws=3)
COUNT = 8


def test_a_model_that_forgot_the_unchanged_picture_only_is_found_out():
    cache = Pictures()
    forget, retain = (views_of(numbered(name, COUNT), cache) for name in ("forget", "retain"))

    def unchanged(view):
        return nearest(view.corrupted.condition, view.corrupted.known, forget, 1e-4)[1]

    findings = PROBE.ask(
        forgetting(ForgetsWhere(torch.cat([forget, retain]), forget, unchanged), count=COUNT)
    )
    drop, knowledge = findings.find("re-recognition"), findings.find("residual-knowledge")
    assert drop is not None
    assert drop.value is not None
    assert drop.value < 0.01
    assert drop.difference_high is not None
    assert drop.difference_high < -0.5
    assert knowledge is not None
    assert (knowledge.reference_value, knowledge.goal) == (1.0, "low")
    assert knowledge.difference_low is not None
    assert knowledge.difference_low > 10
    assert {hit.set for hit in findings.hits} == {"forget"}
    assert len(findings.hits) == 5


def test_noise_that_a_shift_turns_into_a_guess_drops_but_knows_nothing():
    findings = PROBE.ask(forgetting("noise", count=COUNT))
    drop, knowledge = findings.find("re-recognition"), findings.find("residual-knowledge")
    assert drop is not None
    assert drop.difference_high is not None
    assert drop.difference_high < -0.2
    assert knowledge is not None
    assert knowledge.difference is not None
    assert knowledge.difference < 0.1


def test_what_was_never_forgotten_is_known_beyond_the_retrained_model():
    knowledge = PROBE.ask(forgetting("original", count=COUNT)).find("residual-knowledge")
    assert knowledge is not None
    assert knowledge.difference_low is not None
    assert knowledge.difference_low > 10


def test_a_second_retraining_passes():
    findings = PROBE.ask(forgetting("second", count=COUNT))
    for figure in PROBE.figures["generator"]:
        finding = findings.find(figure)
        assert finding is not None
        assert finding.difference == pytest.approx(0, abs=0.05)


def test_a_mirrored_picture_is_wanted_mirrored():
    pictures = torch.rand(2, 3, 4, 4)
    given, truth = _mirrored(pictures, Draws(0, ("a", "b"), (0, 0)))
    assert torch.equal(given, truth)
    assert torch.equal(given[..., 0], pictures[..., 3])


def test_noise_is_shown_and_the_clean_picture_is_wanted():
    pictures = torch.full((2, 3, 40, 40), 0.5)
    given, truth = _noise(0, 4 / 255)(pictures, Draws(0, ("a", "b"), (0, 0)))
    assert torch.equal(truth, pictures)
    assert float((given - pictures).std()) == pytest.approx(4 / 255, rel=0.05)
    repeated, _ = _noise(0, 4 / 255)(pictures, Draws(0, ("a", "b"), (0, 0)))
    other, _ = _noise(1, 4 / 255)(pictures, Draws(0, ("a", "b"), (0, 0)))
    assert torch.equal(given, repeated)
    assert not torch.equal(given, other)


def test_a_moved_picture_repeats_its_border_and_is_wanted_as_it_is_shown():
    picture = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 3, 2, 2)
    draws = Draws(0, ("a",), (0,))
    given, truth = _shift(0, 1)(picture, draws)
    assert given[0, 0].tolist() == [[1, 1], [3, 3]]
    assert torch.equal(given, truth)
    assert _shift(-1, 0)(picture, draws)[0][0, 0].tolist() == [[3, 4], [3, 4]]


def test_nothing_asked_or_no_reference_is_said():
    one = forgetting("noise", count=3)
    findings = Perturbation(draws=0, shifts=False, mirror=False).ask(one)
    assert {finding.note for finding in findings.figures} == {"not measurable: it has no perturbation to try"}
    alone = subject({"unlearned": one.models["unlearned"]}, {"forget": one.sets["forget"]})
    finding = PROBE.ask(alone).find("residual-knowledge")
    assert finding is not None
    assert finding.note == "not measurable: there is no reference model"
    assert np.isfinite(PROBE.ask(alone).figures[0].value)
