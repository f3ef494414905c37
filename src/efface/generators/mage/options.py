"""What the file of a token model cannot say of itself. Importing this module does not import torch."""

from __future__ import annotations

from pydantic import Field

from efface.settings import Settings


class MageOptions(Settings):
    """Settings of `model` that only the family `mage` reads."""

    tokenizer: str | None = Field(
        None,
        description="mage: a stand-alone VQGAN file in place of the tokenizer that the model's file holds",
    )
    tied: bool | None = Field(
        None,
        description="mage: the output layer reads the encoder's token table, as released, so that training the "
        "encoder changes the decoder too; default: it has its own copy, or what a saved folder says",
    )
    mage_heads: int | None = Field(
        None, ge=1, description="mage: encoder heads of a released checkpoint of unusual width"
    )
    mage_decoder_heads: int | None = Field(
        None, ge=1, description="mage: decoder heads of a released checkpoint of unusual width"
    )
