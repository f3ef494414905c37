"""Intervals of probes' figures: how often they hold the truth where images are few."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from efface.evaluation.settings import EvaluationSettings
from efface.probes.base import judged
from efface.probes.criteria import mean
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
        found, _ = judged("probe", "figure", scores, mean("forget"), subject)  # type: ignore[arg-type]
        held += [
            found.low <= 0 <= found.high,  # type: ignore[operator]
            found.difference_low <= 0 <= found.difference_high,  # type: ignore[operator]
        ]
    assert (held / sets > 0.88).all()
