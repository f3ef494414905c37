"""How a classifier is trained from scratch, the original and the retrained alike. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from efface.settings import Settings


class Recipe(Settings):
    """Optimizer, epochs and weights of a training from scratch; the defaults are the competition's.

    Source: Triantafillou et al., arXiv:2406.09073, and its published evaluation (`train_lib.py`).
    """

    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(64, ge=2, description="images a step")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd has a momentum of 0.9")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of the first step")
    weight_decay: float = Field(5e-3, ge=0, description="weight decay, added to the gradient (no AdamW)")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine: half a period, to zero")
    class_weights: bool = Field(
        True, description="weigh a class by 1 / its number of training images (forget and retain)"
    )
    augment: Literal["none", "crop-flip"] = Field(
        "none", description="crop-flip: shift by up to an eighth of the side, mirror half of the images"
    )
