"""`demo`: the whole job on real photographs, with nothing to download.

The rights holders are the photographers of the photos bundled with scikit-image and scikit-learn. A small
masked autoencoder is trained on all but two neutral photos, once more without the two that are to be
forgotten (the reference), then the two are unlearned, evaluated and reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.jobs.training import train
from efface.jobs.unlearning import UnlearnResult, unlearn
from efface.progress import Progress
from efface.runs.config import RunConfig, TrainConfig

FORGET = ("bundled:chelsea", "bundled:coffee")
NEUTRAL = ("bundled:rocket", "bundled:flower")
STORED_SIDE = 80
"""A little above the model's 64 px, so that crops show most of a photo."""


@dataclass(frozen=True)
class DemoSize:
    """How long the demo trains and unlearns."""

    training_steps: int
    unlearning_steps: int
    crops_per_image: int


FULL = DemoSize(1000, 200, 8)
SHORT = DemoSize(40, 10, 2)
# for a network this small bf16 costs more than it saves; half of the patches visible teach it fastest
SETTINGS = {"crop_scale": [0.5, 1.0], "precision": "fp32"}
TRAINING = {**SETTINGS, "batch_size": 16, "learning_rate": 2e-3}
UNLEARNING = {**SETTINGS, "batch_size": 32, "learning_rate": 1e-3}
MASK_RATIO = 0.5


def demo(
    out: Path,
    method: str = "encoder-noise",
    seed: int = 0,
    size: DemoSize = FULL,
    progress: Progress | None = None,
) -> UnlearnResult:
    """Train, unlearn, evaluate and report in `out`; the run of interest is `out/unlearned`.

    The same call continues an interrupted demo. Raises as `unlearn` does.
    """
    progress = progress or Progress()
    common: dict[str, Any] = {
        "images": "bundled",
        "neutral": NEUTRAL,
        "stored_side": STORED_SIDE,
        "architecture": {"mask_ratio": MASK_RATIO},
        "training": {**TRAINING, "steps": size.training_steps},
        "seed": seed,
    }
    progress.say("1 of 3: train a small masked autoencoder on 13 bundled photos")
    original = train(TrainConfig.from_values(common), out / "original", progress)
    progress.say("2 of 3: train the reference, without the two photos that are to be forgotten")
    retrained = train(TrainConfig.from_values({**common, "without": FORGET}), out / "retrained", progress)
    progress.say("3 of 3: forget the two photos, and measure")
    config = RunConfig.from_values(
        {
            "model": str(original.model),
            "retrained": str(retrained.model),
            "images": {"images": "bundled", "forget": FORGET, "neutral": NEUTRAL},
            "method": method,
            "training": {**UNLEARNING, "steps": size.unlearning_steps},
            "evaluation": {"crops_per_image": size.crops_per_image},
            "stored_side": STORED_SIDE,
            "seed": seed,
            "with_pictures": True,
            "request": {"id": "demo", "reason": "two photographers ask that the model forget their photos"},
        }
    )
    return unlearn(config, out / "unlearned", progress)
