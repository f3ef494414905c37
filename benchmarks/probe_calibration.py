"""How probes answer where there is nothing to find: chance of the detector's area, and how often intervals hold 0.

Features are heavy-tailed draws (Student's t with 4 degrees of freedom), the same for both sides; two models are two such
draws. Relearning: two models whose log errors are the same but for noise of each image and checkpoint.

    python benchmarks/probe_calibration.py
    python benchmarks/probe_calibration.py --smoke
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from efface.evaluation.settings import EvaluationSettings
from efface.probes.base import judged
from efface.probes.findings import Finding
from efface.probes.relearning import greatest_lead
from efface.probes.two_sample import area_within_folds, detect
from efface.randomness import numpy_draws
from machine import add_options, finish

AREAS = {"10 photos a side, 4 features": (10, 10, 4), "12 and 24 photos, 30 features": (12, 24, 30)}
DIFFERENCES = {"20 and 60 photos": (20, 60), "10 and 30 photos": (10, 30)}
FEATURES = 30
FREEDOM = 4
LEADS = (8, 20, 60)
CHECKPOINTS = 7
NOISE_OF_IMAGES, NOISE_OF_CHECKPOINTS = 0.3, 0.1


def chance_of_areas(sets: int) -> dict[str, Any]:
    """Mean, standard error and standard deviation of the area where both sides are alike."""
    found = {}
    for name, (forget, neutral, features) in AREAS.items():
        areas = np.empty(sets)
        for number in range(sets):
            draws = numpy_draws(number, name)
            sides = (draws.standard_t(FREEDOM, (count, features)) for count in (forget, neutral))
            areas[number] = area_within_folds(detect(*sides, seed=number))
        spread = float(areas.std(ddof=1))
        found[name] = {"mean": areas.mean(), "standard_error": spread / sets**0.5, "deviation": spread}
    return {
        name: {key: round(float(value), 4) for key, value in values.items()} for name, values in found.items()
    }


def detectability(number: int, forget: int, neutral: int) -> Finding:
    """The figure of an unlearned model that is as the retrained one."""
    draws = numpy_draws(number, "detectability", forget, neutral)
    scores = {
        model: detect(
            draws.standard_t(FREEDOM, (forget, FEATURES)),
            draws.standard_t(FREEDOM, (neutral, FEATURES)),
            seed=number,
        )
        for model in ("unlearned", "retrained")
    }
    return finding("detectability", scores, area_within_folds, number)


def relearning(number: int, images: int) -> Finding:
    """The figure of an unlearned model that knows as little as the retrained one."""
    draws = numpy_draws(number, "relearning", images)
    errors = {
        model: draws.normal(0, NOISE_OF_IMAGES, (images, 1))
        + draws.normal(0, NOISE_OF_CHECKPOINTS, (images, CHECKPOINTS))
        for model in ("unlearned", "retrained")
    }
    scores = {
        model: {"forget": np.stack([own, errors["retrained"]], axis=-1)} for model, own in errors.items()
    }
    return finding("relearning", scores, greatest_lead, number)


def finding(name: str, scores: Any, criterion: Any, seed: int) -> Finding:
    """The unlearned model's figure beside the retrained one's, as a probe gives it."""
    settings = EvaluationSettings(seed=seed, resamples=400)
    subject: Any = SimpleNamespace(reference="retrained", settings=settings)
    judgement = judged(name, name, scores, criterion, subject)
    return next(one for one in judgement.figures if one.model == "unlearned")


def share(sets: int, ask: Callable[[int], Finding], holds: Callable[[float, float], bool]) -> float:
    """Share of sets whose difference's interval `holds`."""
    hits = 0
    for number in range(sets):
        one = ask(number)
        assert one.difference_low is not None
        assert one.difference_high is not None
        hits += holds(one.difference_low, one.difference_high)
    return round(hits / sets, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=200, help="simulated data sets of each kind")
    add_options(parser)
    options = parser.parse_args()
    sets = 2 if options.smoke else options.sets
    values = {
        "sets": sets,
        "area_by_chance": chance_of_areas(5 * sets),
        "detectability_difference_holds_0": {
            name: share(
                sets,
                lambda number, sizes=sizes: detectability(number, *sizes),
                lambda low, high: low <= 0 <= high,
            )
            for name, sizes in DIFFERENCES.items()
        },
        "relearning_lower_end_above_0": {
            f"{images} images": share(
                sets, lambda number, images=images: relearning(number, images), lambda low, _: low > 0
            )
            for images in LEADS
        },
    }
    finish("probe_calibration", values, options)


if __name__ == "__main__":
    main()
