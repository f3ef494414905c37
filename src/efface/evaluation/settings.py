"""How models are compared. Importing this module does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from efface.settings import Settings


class EvaluationSettings(Settings):
    """Which views of which images are measured, with what, and how intervals are made."""

    extractor: str = Field(
        "built-in", description="features: built-in, inception:FILE, clip:FOLDER_OR_ID or dinov2:FOLDER_OR_ID"
    )
    crops_per_image: int = Field(1, ge=1, description="fixed crops of each image; 1 is the centre crop")
    sampler: str | None = Field(
        None, description="how a generator of several steps draws, such as ddim:20; default: its family's own"
    )
    batch_size: int = Field(32, ge=1, description="views a batch")
    seed: int = Field(0, description="seed of evaluation crops, random masks and bootstrap")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of all intervals")
    resamples: int = Field(2000, ge=200, description="bootstrap resamples")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="precision of the models' forward passes")
    worst: int = Field(10, ge=1, description="how many of the worst-hit images and classes are listed")
