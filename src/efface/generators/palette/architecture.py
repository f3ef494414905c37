"""Sizes of pixel diffusion models to train from scratch. Importing this module does not import torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from efface.generators.settings import Architecture

GROUPS = 32

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "image_size": 64, "inner_channels": 64, "channel_multipliers": (1, 2, 2, 4), "blocks_per_level": 2,
        "attention_levels": (3,), "channels_per_head": 32,
    },
    "base": {
        "image_size": 256, "inner_channels": 64, "channel_multipliers": (1, 2, 4, 8), "blocks_per_level": 2,
        "attention_levels": (), "channels_per_head": 32,
    },
}  # fmt: skip
"""What each size changes of the defaults below; `base` is the released inpainting network."""


class PaletteArchitecture(Architecture):
    """The shape of a pixel diffusion model; the defaults are the size `tiny`."""

    image_size: int = Field(32, ge=8, description="side of the square input in pixels")
    inner_channels: int = Field(32, ge=32, description="channels at full resolution, a multiple of 32")
    channel_multipliers: tuple[PositiveInt, ...] = Field(
        (1, 2, 2),
        min_length=1,
        description="channels of each level as multiples; every level halves the side",
    )
    blocks_per_level: int = Field(1, ge=1, description="residual blocks at each level on the way down")
    attention_levels: tuple[int, ...] = Field(
        (2,), description="levels with self-attention, the first is 0; the middle block always has it"
    )
    channels_per_head: int = Field(16, ge=1, description="channels of an attention head")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in residual blocks while training")

    def faults(self) -> list[str]:
        """What does not fit together."""
        problems = []
        levels = len(self.channel_multipliers)
        if self.image_size % 2 ** (levels - 1):
            problems.append(
                f"image_size {self.image_size} cannot be halved {levels - 1} times, once a level after the first"
            )
        if self.channel_multipliers[0] != 1:
            problems.append(
                f"channel_multipliers begin with {self.channel_multipliers[0]}: the first level has inner_channels, so "
                "the first is 1"
            )
        if self.inner_channels % GROUPS:
            problems.append(f"inner_channels {self.inner_channels} is not a multiple of {GROUPS}")
        attended = {level for level in self.attention_levels if 0 <= level < levels}
        if unknown := sorted(set(self.attention_levels) - attended):
            problems.append(f"attention_levels {unknown}: there are the levels 0 to {levels - 1}")
        for level in sorted(attended | {levels - 1}):
            width = self.inner_channels * self.channel_multipliers[level]
            if width % self.channels_per_head:
                problems.append(
                    f"the {width} channels of level {level} are not a multiple of channels_per_head "
                    f"{self.channels_per_head}"
                )
        return problems

    def network_config(self) -> dict[str, Any]:
        """The arguments of diffusers' `UNet2DModel` that make it compute what Palette's UNet does."""
        levels = range(len(self.channel_multipliers))
        kinds = [
            "Attn{}Block2D" if level in self.attention_levels else "Resnet{}sampleBlock2D" for level in levels
        ]
        return {
            "sample_size": self.image_size,
            "in_channels": 6,
            "out_channels": 3,
            "block_out_channels": [
                self.inner_channels * multiplier for multiplier in self.channel_multipliers
            ],
            "down_block_types": [kind.format("Down") for kind in kinds],
            "up_block_types": [kind.format("Up") for kind in reversed(kinds)],
            "layers_per_block": self.blocks_per_level,
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "resnet_time_scale_shift": "scale_shift",
            "norm_num_groups": GROUPS,
            "attn_norm_num_groups": GROUPS,
            "norm_eps": 1e-5,
            "attention_head_dim": self.channels_per_head,
            "dropout": self.dropout,
        }
