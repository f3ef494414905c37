"""What the file of a masked autoencoder cannot say of itself. Importing this module does not import torch."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from efface.settings import Settings


class MaeOptions(Settings):
    """Settings of `model` that only masked autoencoders read."""

    norm_pix_loss: bool | None = Field(
        None,
        description="mae: trained on patches normalised by their own statistics; default: as the file says",
    )
    num_attention_heads: int | None = Field(
        None, ge=1, description="mae: encoder heads of a released checkpoint of unusual width"
    )
    decoder_num_attention_heads: int | None = Field(
        None, ge=1, description="mae: decoder heads of a released checkpoint of unusual width"
    )
    image_mean: tuple[float, float, float] | None = Field(
        None, description="mae: channel means of the training input; default: the file's, else ImageNet's"
    )
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="mae: channel standard deviations of the training input; default: the file's, else ImageNet's",
    )
