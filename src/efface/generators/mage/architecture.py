"""Sizes of token models to train from scratch. Importing this module does not import torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from efface.generators.settings import Architecture

_RELEASED: dict[str, Any] = {
    "image_size": 256, "codebook_size": 1024, "code_dimension": 256, "tokenizer_patch": 1, "tokenizer_channels": 128,
    "tokenizer_multipliers": (1, 1, 2, 2, 4), "tokenizer_blocks": 2, "tokenizer_groups": 32, "decoder_layers": 8,
    "decoder_heads": 16,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "codebook_size": 512, "code_dimension": 64, "tokenizer_patch": 2, "tokenizer_channels": 64,
        "tokenizer_multipliers": (1, 1, 1), "hidden_size": 256, "layers": 6, "heads": 8, "decoder_hidden_size": 256,
        "decoder_layers": 4, "decoder_heads": 8,
    },
    "base": {**_RELEASED, "hidden_size": 768, "layers": 12, "heads": 12, "decoder_hidden_size": 768},
    "large": {**_RELEASED, "hidden_size": 1024, "layers": 24, "heads": 16, "decoder_hidden_size": 1024},
}  # fmt: skip
"""What each size changes of the defaults below; `base` and `large` are those of Li et al. 2023."""


class MageArchitecture(Architecture):
    """The shape of a token model and of its tokenizer; the defaults are the size `tiny`."""

    image_size: int = Field(64, ge=8, description="side of the square input in pixels")
    codebook_size: int = Field(256, ge=2, description="number of different tokens")
    code_dimension: int = Field(32, ge=1, description="length of a token's vector in the codebook")
    tokenizer_patch: int = Field(
        4, ge=1, description="side of the pixel blocks that the tokenizer starts from"
    )
    tokenizer_channels: int = Field(64, ge=1, description="channels of the tokenizer's first level")
    tokenizer_multipliers: tuple[int, ...] = Field(
        (1, 1), min_length=1, description="channels of each level of the tokenizer, in units of the first"
    )
    tokenizer_blocks: int = Field(1, ge=1, description="residual blocks per level of the tokenizer")
    tokenizer_groups: int = Field(8, ge=1, description="groups of the tokenizer's group norms")
    hidden_size: int = Field(128, ge=1, description="encoder width, a multiple of its heads")
    layers: int = Field(4, ge=1, description="encoder blocks")
    heads: int = Field(4, ge=1, description="encoder attention heads")
    decoder_hidden_size: int = Field(128, ge=1, description="decoder width, a multiple of its heads")
    decoder_layers: int = Field(2, ge=1, description="decoder blocks")
    decoder_heads: int = Field(4, ge=1, description="decoder attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout behind the token embedding, in training")
    mask_rate_least: float = Field(0.5, ge=0, lt=1, description="least share of tokens hidden in training")
    mask_rate_most: float = Field(1.0, gt=0, le=1, description="largest share of tokens hidden in training")
    tied: bool = Field(False, description="the output layer reads the encoder's token table, as released")

    @property
    def token_side(self) -> int:
        """Pixels per token and side."""
        return self.tokenizer_patch << (len(self.tokenizer_multipliers) - 1)

    def faults(self) -> list[str]:
        """What does not fit together."""
        problems = []
        if self.image_size % self.token_side:
            problems.append(
                f"image_size {self.image_size} is not a multiple of the {self.token_side} px of a token "
                "(tokenizer_patch times 2 for each further level)"
            )
        for part, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % heads:
                problems.append(f"{part} {width} is not a multiple of its {heads} heads")
        if any(multiplier < 1 for multiplier in self.tokenizer_multipliers):
            problems.append("tokenizer_multipliers must be 1 or more")
        if self.tokenizer_channels % self.tokenizer_groups:
            problems.append(
                f"tokenizer_channels {self.tokenizer_channels} is not a multiple of its "
                f"{self.tokenizer_groups} groups"
            )
        if self.mask_rate_least > self.mask_rate_most:
            problems.append(
                f"mask_rate_least {self.mask_rate_least} is above mask_rate_most {self.mask_rate_most}"
            )
        return problems
