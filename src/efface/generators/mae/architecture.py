"""Sizes of masked autoencoders to train from scratch. Importing this module does not import torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from efface.generators.settings import Architecture

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "hidden_size": 256, "layers": 6, "heads": 8,
        "decoder_hidden_size": 128, "decoder_layers": 2, "decoder_heads": 4,
    },
    "base": {
        "image_size": 224, "patch_size": 16, "hidden_size": 768, "layers": 12, "heads": 12,
        "decoder_hidden_size": 512, "decoder_layers": 8, "decoder_heads": 16,
    },
    "large": {
        "image_size": 224, "patch_size": 16, "hidden_size": 1024, "layers": 24, "heads": 16,
        "decoder_hidden_size": 512, "decoder_layers": 8, "decoder_heads": 16,
    },
}  # fmt: skip
"""What each size changes of the defaults below; `base` and `large` are those of He et al. 2022."""


class MaeArchitecture(Architecture):
    """The shape of a masked autoencoder; the defaults are the size `tiny`."""

    patch_size: int = Field(8, ge=1, description="side of a patch in pixels")
    hidden_size: int = Field(128, ge=4, description="encoder width, a multiple of 4 and of its heads")
    layers: int = Field(4, ge=1, description="encoder blocks")
    heads: int = Field(4, ge=1, description="encoder attention heads")
    decoder_hidden_size: int = Field(96, ge=4, description="decoder width, a multiple of 4 and of its heads")
    decoder_layers: int = Field(2, ge=1, description="decoder blocks")
    decoder_heads: int = Field(4, ge=1, description="decoder attention heads")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of patches hidden in training")
    norm_pix_loss: bool = Field(False, description="predict patches normalised by their own statistics")

    def faults(self) -> list[str]:
        """What does not fit together."""
        problems = []
        if self.image_size % self.patch_size:
            problems.append(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        for part, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % 4 or width % heads:
                problems.append(f"{part} {width} is not a multiple of 4 and of its {heads} heads")
        return problems

    def transformers_config(self) -> dict[str, Any]:
        """The arguments of transformers' `ViTMAEConfig`."""
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden_size,
            "decoder_hidden_size": self.decoder_hidden_size,
            "decoder_num_hidden_layers": self.decoder_layers,
            "decoder_num_attention_heads": self.decoder_heads,
            "decoder_intermediate_size": 4 * self.decoder_hidden_size,
            "mask_ratio": self.mask_ratio,
            "norm_pix_loss": self.norm_pix_loss,
            "layer_norm_eps": 1e-6,
        }
