"""Intervals of probes' figures: how often they hold the truth where images are few."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from efface.evaluation.settings import EvaluationSettings
from efface.probes.base import judged, mean
from efface.probes.subject import Share
from efface.randomness import numpy_draws


def test_intervals_of_five_images_hold_the_truth_nine_times_in_ten() -> None:
    """Percentiles at their nominal levels hold it in 84 %, of the value and of the difference alike."""
    held = np.zeros(2)
    sets = 400
    for number in range(sets):
        settings = EvaluationSettings(seed=number, resamples=200)
        subject: Any = SimpleNamespace(reference="retrained", settings=settings)
        draws = numpy_draws(number, "five images")
        scores = {
            "unlearned": {"forget": draws.normal(0, 1, 5)},
            "retrained": {"forget": draws.normal(0, 1, 5)},
        }
        finding, _ = judged("probe", "figure", scores, mean("forget"), subject).figures  # type: ignore[arg-type]
        held += [
            finding.low <= 0 <= finding.high,  # type: ignore[operator]
            finding.difference_low <= 0 <= finding.difference_high,  # type: ignore[operator]
        ]
    assert (held / sets > 0.88).all()


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_a_share_of_none_or_all_has_the_exact_interval(answer: float) -> None:
    subject: Any = SimpleNamespace(reference="retrained", settings=EvaluationSettings(resamples=200))
    scores = {
        "unlearned": {"forget": np.full((20, 3), answer)},
        "retrained": {"forget": np.zeros((20, 3))},
        "original": {"forget": np.eye(20)[:, :3]},
    }
    judgement = judged("probe", "figure", scores, mean("forget"), subject, share=Share())  # type: ignore[arg-type]
    unlearned, retrained, original = judgement.figures
    exact = binomtest(round(20 * answer), 20).proportion_ci(method="exact")
    assert (unlearned.low, unlearned.high) == pytest.approx((exact.low, exact.high))
    reach = binomtest(0, 20).proportion_ci(method="exact").high
    expected = (0.0 - reach, 0.0 + reach) if answer == 0 else (1 - reach, 1.0)
    assert (unlearned.difference_low, unlearned.difference_high) == pytest.approx(expected)
    assert (retrained.low, retrained.high) == pytest.approx((0, reach))
    assert 0 <= original.low < original.value < original.high < reach  # type: ignore[operator]


def test_other_figures_of_equal_values_are_certain() -> None:
    """An original's logarithms of error over its own are all 0: no share, and known exactly."""
    subject: Any = SimpleNamespace(reference="retrained", settings=EvaluationSettings(resamples=200))
    scores: Any = {"original": {"kept": np.zeros((20, 2))}}
    (original,) = judged(
        "probe", "figure", scores, lambda given: float(np.exp(given["kept"].mean())), subject
    ).figures
    assert (original.value, original.low, original.high) == (1.0, 1.0, 1.0)
