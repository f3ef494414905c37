"""Runs of every family: a tiny model of 32 px trained from scratch, and settings for a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import efface
from efface.jobs.training import TrainResult
from efface.runs.record import ModelFacts
from support.families import SAMPLERS, SHAPES

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mae": {
        "image_size": 32, "hidden_size": 32, "layers": 1, "heads": 2, "decoder_hidden_size": 32, "decoder_layers": 1,
        "decoder_heads": 2,
    },
    **SHAPES,
}  # fmt: skip
WITH_FIRST_STAGE = ("mage", "latent-inpainting")
FEW: dict[str, Any] = {
    "steps": 3,
    "batch_size": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "precision": "fp32",
    "threads": 1,
}
UNLEARNING: dict[str, Any] = {**FEW, "batch_size": 4, "learning_rate": 2e-2}
CATS: dict[str, Any] = {"forget": "label:cats", "neutral": "label:birds"}


def trained(photos: Path, out: Path, family: str, **settings: Any) -> TrainResult:
    """A model of this family after three steps on all photos but the birds; `like` takes its shape from another."""
    own: dict[str, Any] = {"training": FEW, "first_stage": FEW, "neutral": "label:birds"}
    if "like" not in settings:
        own |= {"generator": family, "architecture": ARCHITECTURES[family]}
    return efface.train(photos, out=out, **{**own, **settings})


def evaluation(family: str, number: int = 0) -> dict[str, Any]:
    return {"resamples": 200, "sampler": SAMPLERS[family][number]}


def first_stage(facts: ModelFacts) -> str | None:
    """The digest of the first stage in a model's facts."""
    assert facts.description.first_stage is not None
    return facts.description.first_stage.weights
