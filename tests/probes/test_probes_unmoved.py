"""Unmoved: images that were kept are counted though the mean moved, and a second retraining has none beyond chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from efface.evaluation.settings import EvaluationSettings
from efface.probes.findings import Finding
from efface.probes.subject import LOG_ERROR
from efface.probes.unmoved import Unmoved, surplus
from efface.randomness import numpy_draws

IMAGES = 120


def errors(seed: int) -> dict[str, np.ndarray]:
    """Log errors of an original, and of two models that never saw the images, alike but for noise."""
    draws = numpy_draws("unmoved", seed)
    difficulty = draws.normal(size=IMAGES)
    return {
        "original": difficulty - 1 + draws.normal(0, 0.3, IMAGES),
        "retrained": difficulty + draws.normal(0, 0.3, IMAGES),
        "unlearned": difficulty + draws.normal(0, 0.3, IMAGES),
    }


def asked(given: dict[str, np.ndarray]) -> Finding:
    subject: Any = SimpleNamespace(
        kind="generator",
        models=dict.fromkeys(given),
        has=lambda *names: True,
        evaluated=lambda model, name: {LOG_ERROR: given[model]},
        reference="retrained",
        questioned="unlearned",
        settings=EvaluationSettings(resamples=300),
    )
    finding = Unmoved().ask(subject).find("unmoved")
    assert finding is not None
    return finding


def test_a_tenth_that_was_kept_is_found_out():
    given = errors(0)
    given["unlearned"][:12] = given["original"][:12]
    finding = asked(given)
    assert finding.difference == pytest.approx(0.1, abs=0.03)
    assert finding.difference_low is not None
    assert finding.difference_low > 0
    assert finding.goal == "low"


def test_a_second_retraining_is_seldom_found_out():
    lows = [asked(errors(seed)).difference_low for seed in range(20)]
    assert sum(low is not None and low > 0 for low in lows) <= 3


def test_shares_are_counted_both_ways_round():
    scores = {"forget": np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 0.1]])}
    assert surplus(0.25)(scores) == 0.25
    assert surplus(0.25)({"forget": scores["forget"][:, ::-1]}) == -0.25


@pytest.mark.parametrize("missing", ["original", "retrained"])
def test_it_takes_original_and_retrained_model(missing: str):
    given = errors(0)
    del given[missing]
    finding = asked(given)
    assert finding.value is None
    assert finding.note is not None
    assert missing in finding.note
