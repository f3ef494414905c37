"""`demo`: the whole job on real photographs, with nothing to download.

The rights holders are the photographers of the photos bundled with scikit-image and scikit-learn. A small
model is trained on all but two neutral photos, once more without the two that are to be forgotten (the
reference), then the two are unlearned, evaluated and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.generators.families import Demo
from efface.generators.registry import FAMILIES
from efface.jobs.run import RunResult, carry_out
from efface.progress import Progress
from efface.runs.train_config import TrainConfig
from efface.runs.unlearn_config import RunConfig

FORGET = ("bundled:chelsea", "bundled:coffee")
NEUTRAL = ("bundled:rocket", "bundled:flower")
MARGIN = 5 / 4
"""How much more than the model's side is stored of a photo, so that crops show most of it."""
SHORT_STEPS = 10


def demo(
    out: Path,
    method: str | None = None,
    seed: int = 0,
    *,
    generator: str = "mae",
    short: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Train, unlearn, evaluate and report in `out`; the run of interest is `out/unlearned`.

    method: by default the one that the family's demo declares.
    short: a few steps only, to see that everything runs. The same call continues an interrupted demo.
    Raises as `carry_out` does.
    """
    progress = progress or Progress()
    how = demo_of(generator)
    family = FAMILIES.named(generator)
    architecture = {**family.sizes["tiny"], **how.architecture}
    side = round(family.architecture.read(architecture).image_size * MARGIN)
    common: dict[str, Any] = {
        "generator": generator,
        "images": "bundled",
        "neutral": NEUTRAL,
        "stored_side": side,
        "architecture": architecture,
        "training": shortened(how.training, short),
        "first_stage": shortened(how.first_stage, short),
        "seed": seed,
    }
    progress.say(f"1 of 3: train a small {generator} model on 13 bundled photos")
    original = carry_out(TrainConfig.from_values(common), out / "original", progress)
    progress.say("2 of 3: train the reference, without the two photos that are to be forgotten")
    retrained = carry_out(TrainConfig.from_values({**common, "without": FORGET}), out / "retrained", progress)
    progress.say("3 of 3: forget the two photos, and measure")
    config = RunConfig.from_values(
        {
            "model": str(original.model),
            "retrained": str(retrained.model),
            "images": {"images": "bundled", "forget": FORGET, "neutral": NEUTRAL},
            "method": method or how.method,
            "corruption": how.corruption,
            "training": shortened(how.unlearning, short),
            "evaluation": {**how.evaluation, **({"crops_per_image": 2} if short else {})},
            "stored_side": side,
            "seed": seed,
            "with_pictures": True,
            "request": {"id": "demo", "reason": "two photographers ask that the model forget their photos"},
        }
    )
    return carry_out(config, out / "unlearned", progress)


def demo_of(generator: str) -> Demo:
    """How the family is shown; raises `InputError` for one that is not."""
    how = FAMILIES.named(generator).demo
    if how is None:
        names = ", ".join(name for name, family in FAMILIES.items() if family.demo)
        raise InputError(f"there is no demo of {generator}, only of {names}")
    return how


def shortened(settings: Mapping[str, Any], short: bool) -> dict[str, Any]:
    """`settings` with a few steps only, if `short`."""
    return {**settings, **({"steps": SHORT_STEPS} if short and settings else {})}
