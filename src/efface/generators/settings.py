"""How a model is named in a config, and the shape of a new one. Importing this module does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from efface.settings import Settings

NoiseKind = Literal["standard-normal", "moment-matched", "uniform", "constant"]


class Architecture(Settings):
    """The shape of a model to be trained from scratch; each family has its own."""

    image_size: int = Field(64, ge=8, description="side of the square input in pixels")

    def faults(self) -> list[str]:
        """What does not fit together."""
        return []


class ModelSettings(Settings):
    """Where a trained model lies. Each family adds what its files cannot say of themselves."""

    path: str = Field(
        description="a folder saved by transformers, diffusers or efface, a hub id, or a released .pth checkpoint"
    )
    revision: str | None = Field(None, description="the hub revision (a commit hash pins the weights)")
    family: str | None = Field(None, description="the family of the model; default: as its files say")
