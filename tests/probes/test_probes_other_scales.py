"""Other scales: what is remembered at one scale only is found, named, and not invented where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from efface.errors import InputError
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.images.items import ImageSet
from efface.probes.lowest import lowest
from efface.probes.other_scales import OtherScales
from efface.randomness import numpy_draws
from support.subjects import SIZE, Pictures, Remembering, forgetting, numbered

COUNT = 8
PROBE = OtherScales(scales=(1.0, 0.5, 0.25))


def at_scale(images: ImageSet, cache: Pictures, scale: float) -> torch.Tensor:
    settings = EvaluationSettings(crop_scale=(scale, scale))
    batches = view_batches(images, cache, SIZE, settings)  # type: ignore[arg-type]
    return torch.cat([batch.images.float() / 255 for batch in batches])


def test_what_is_remembered_of_the_middle_alone_is_found_at_its_scale() -> None:
    cache = Pictures()
    forget, retain = (numbered(name, COUNT) for name in ("forget", "retain"))
    kept = [at_scale(retain, cache, scale) for scale in PROBE.scales]
    near = Remembering(torch.cat([*kept, at_scale(forget, cache, 0.25)]))
    findings = PROBE.ask(forgetting(near, count=COUNT))
    worst = findings.find("other-scales")
    assert worst is not None
    assert worst.note == "0.25, the lowest of 3; interval widened for the choice"
    assert worst.difference_high is not None
    assert worst.difference_high < -0.5
    whole = findings.find("other-scales:1")
    assert whole is not None
    assert whole.difference == pytest.approx(0, abs=0.05)


def test_no_scale_is_one_that_views_cannot_cover() -> None:
    with pytest.raises(InputError, match=r"scales\.0"):
        OtherScales.read({"scales": [1.2]})


@dataclass(frozen=True)
class Judging:
    """What is read of a subject when figures are judged."""

    settings: EvaluationSettings
    questioned: str = "unlearned"
    reference: str = "retrained"


def test_a_model_that_remembers_nothing_is_seldom_said_to_at_its_worst_scale() -> None:
    false, runs, photos, scales = 0, 80, 30, 5
    for run in range(runs):
        random = numpy_draws("worst scale", run)
        # what makes a photo hard is common to scales and models; the rest is of each model and scale
        hard = {name: random.normal(0, 0.6, photos) for name in ("forget", "neutral")}
        scores = {
            f"other-scales:{scale}": {
                model: {
                    name: np.exp(hard[name] + random.normal(0, 0.15, photos))
                    for name in ("forget", "neutral")
                }
                for model in ("unlearned", "retrained")
            }
            for scale in range(scales)
        }
        found = lowest("other-scales", scores, Judging(EvaluationSettings(resamples=200)))  # type: ignore[arg-type]
        finding = found.find("other-scales")
        assert finding is not None
        assert finding.difference_high is not None
        false += finding.difference_high < 0
    # at most 2.5 % lie below at a confidence of 95 %, that is 2 of 80; chance goes beyond 6 once in 200 times
    assert false <= 6
