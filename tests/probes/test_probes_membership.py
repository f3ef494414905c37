"""Membership: a model that remembers is caught by both attacks, one that was retrained is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.probes.membership import Membership, _turned, calibrated, true_positives
from efface.randomness import Draws
from support.subjects import forgetting, subject

PROBE = Membership(views=3)
CROPS = (1, 3)


def test_a_model_that_did_not_forget_is_caught_by_loss_and_by_views():
    findings = PROBE.ask(forgetting("original", count=20, crops=CROPS))
    for figure in PROBE.figures["generator"]:
        finding = findings.find(figure)
        assert finding is not None
        assert finding.value == 1.0, figure
        assert finding.difference_low is not None
        assert finding.difference_low > 0.15, figure


def test_noise_is_as_far_from_the_retrained_model_on_the_other_side():
    findings = PROBE.ask(forgetting("noise", count=8, crops=CROPS))
    for figure in ("membership-loss", "membership-views"):
        finding = findings.find(figure)
        assert finding is not None
        assert finding.value == 0.0
        assert finding.difference_high is not None
        assert finding.difference_high < 0


def test_a_second_retraining_passes():
    findings = PROBE.ask(forgetting("second", count=24, crops=CROPS))
    for figure in ("membership-loss", "membership-views"):
        finding = findings.find(figure)
        assert finding is not None
        assert finding.difference == pytest.approx(0, abs=0.1)
        assert finding.value == pytest.approx(0.5, abs=0.3)


def test_with_few_neutral_images_there_is_no_rate_at_five_percent():
    finding = PROBE.ask(forgetting("second", count=8, crops=CROPS)).find("membership-loss-tpr")
    assert finding is not None
    assert finding.value is None
    assert finding.note == (
        "not measurable: 8 neutral photos; 20 are needed for a threshold of 5 % false positives"
    )


def test_the_loss_attack_takes_the_models_own_loss_where_it_was_measured():
    one = forgetting("original", count=6, crops=CROPS)
    with_loss = subject(one.models, one.sets, task_loss=True)
    answers = with_loss.answers("unlearned", "forget")
    # a loss that says the opposite of the hole error
    answers.values["task_loss"][:] = 1.0
    finding = PROBE.ask(with_loss).find("membership-loss")
    assert finding is not None
    assert finding.value == 0.0


def test_the_true_positive_rate_allows_one_false_positive_in_twenty():
    scores = {"neutral": np.arange(20.0), "forget": np.array([17.5, 18.0, 18.5, 30.0])}
    # 18 is exceeded by one neutral score of twenty
    assert true_positives("forget", "neutral", 0.05)(scores) == 0.5
    scores["neutral"] = np.arange(19.0)
    # of 19 none may exceed it
    assert true_positives("forget", "neutral", 0.05)(scores) == 0.5
    assert true_positives("forget", "neutral", 0.0)({**scores, "neutral": np.array([20.0])}) == 0.25


def test_a_rise_counts_relative_to_its_spread_and_the_median_spread():
    rises = {"forget": np.array([[1.0, 3.0]]), "neutral": np.array([[0.0, 0.0], [2.0, 2.0 + 2 * np.sqrt(2)]])}
    # spreads sqrt(2), 0 and 2: the median is sqrt(2)
    scores = calibrated(rises)
    assert scores["forget"] == pytest.approx([2 / (2 * np.sqrt(2))])
    assert scores["neutral"] == pytest.approx([0, (2 + np.sqrt(2)) / (2 + np.sqrt(2))])


def test_turned_pictures_are_upside_down():
    picture = torch.arange(12.0).view(1, 3, 2, 2)
    given, truth = _turned(picture, Draws(0, ("a",), (0,)))
    assert given[0, 0].tolist() == [[2, 3], [0, 1]]
    assert torch.equal(given, truth)
