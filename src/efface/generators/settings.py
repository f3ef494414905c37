"""How a model is named in a config. Importing this module does not import torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from efface.settings import Settings

NoiseKind = Literal["standard-normal", "moment-matched", "uniform", "constant"]


class ModelSettings(Settings):
    """Where a trained model lies, and what its file cannot say of itself."""

    path: str = Field(description="a folder saved by transformers, a hub id, or a released .pth checkpoint")
    revision: str | None = Field(None, description="the hub revision (a commit hash pins the weights)")
    norm_pix_loss: bool | None = Field(
        None, description="trained on patches normalised by their own statistics; default: as the file says"
    )
    num_attention_heads: int | None = Field(
        None, ge=1, description="encoder heads of a released checkpoint of unusual width"
    )
    decoder_num_attention_heads: int | None = Field(
        None, ge=1, description="decoder heads of a released checkpoint of unusual width"
    )
    image_mean: tuple[float, float, float] | None = Field(
        None, description="channel means of the training input; default: the file's, else ImageNet's"
    )
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="channel standard deviations of the training input; default: the file's, else ImageNet's",
    )
