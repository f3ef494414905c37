"""The family `palette`: settings of pixel diffusion models, and the shape of new ones. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, PositiveInt

from efface.generators.families import Architecture, Demo, Family, LearntCrops, ModelSettings, Release
from efface.model_files import Contents

TRAINED = "the noise schedule of its training"
TESTED = "the noise schedule of the ancestral sampler"


class PaletteSettings(ModelSettings):
    """Where a pixel diffusion model lies, and what its file cannot say of itself."""

    image_size: int | None = Field(
        None, ge=8, description="side of the square input in pixels; default: the file's, else 256"
    )
    channels_per_head: int | None = Field(
        None,
        ge=1,
        description="channels of each attention head; default: the folder's, for released checkpoints 32",
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="dropout while training; default: the file's, else none"
    )
    train_noise_steps: int | None = Field(
        None, ge=2, description=f"steps of {TRAINED}; default: the file's, else 2000"
    )
    train_noise_start: float | None = Field(
        None, gt=0, lt=1, description=f"first beta of {TRAINED}; default: the file's, else 1e-6"
    )
    train_noise_end: float | None = Field(
        None, gt=0, lt=1, description=f"last beta of {TRAINED}; default: the file's, else 0.01"
    )
    test_noise_steps: int | None = Field(
        None, ge=2, description=f"steps of {TESTED}; default: the file's, else 2000"
    )
    test_noise_start: float | None = Field(
        None, gt=0, lt=1, description=f"first beta of {TESTED}; default: the file's, else 1e-4"
    )
    test_noise_end: float | None = Field(
        None, gt=0, lt=1, description=f"last beta of {TESTED}; default: the file's, else 0.09"
    )


GROUPS = 32

SIZES: dict[str, dict[str, JsonValue]] = {
    "tiny": {},
    "small": {
        "image_size": 64, "inner_channels": 64, "channel_multipliers": [1, 2, 2, 4], "blocks_per_level": 2,
        "attention_levels": [3], "channels_per_head": 32,
    },
    "base": {
        "image_size": 256, "inner_channels": 64, "channel_multipliers": [1, 2, 4, 8], "blocks_per_level": 2,
        "attention_levels": [], "channels_per_head": 32,
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


RELEASED = ("input_blocks.0.0.weight", "cond_embed.0.weight")

SMALL: dict[str, JsonValue] = {"crop_scale": [0.6, 1.0], "precision": "fp32", "weight_decay": 0.0}


def recognises(contents: Contents) -> bool:
    """A folder of diffusers' `UNet2DModel`, of a pipeline around it, or the released tensors."""
    if contents.config.get("_class_name") == "UNet2DModel":
        return True
    unet = contents.config.get("unet")
    if isinstance(unet, list) and unet[-1:] == ["UNet2DModel"]:
        return "vae" not in contents.config and "vqvae" not in contents.config
    return all(any(name.endswith(part) for name in contents.tensors) for part in RELEASED)


RELEASE = Release(
    source="github.com/jpmorganchase/i2i_Palette-Image-to-Image-Diffusion-Models, branch i2i (Li et al., ICLR 2024)",
    # three epochs at a constant rate, 12 pictures on each of 8 GPUs; pictures as they are, whole
    training={
        "epochs": 3, "batch_size": 96, "learning_rate": 5e-5, "optimizer": "adam", "betas": [0.9, 0.999],
        "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0, "clip": None, "average": None, "precision": "fp32",
        "crop_scale": [1.0, 1.0], "flip": False, "crops_per_image": None, "corruption": "box-brush",
    },
    methods={
        "encoder-noise": {"alpha": 0.1, "noise": "standard-normal", "norm": "mse"},
        "max-loss": {"alpha": 0.1},
        "noisy-label": {"alpha": 0.1},
        "retain-label": {"alpha": 0.1},
        "random-encoder": {"alpha": 0.1, "norm": "mse"},
    },
    # data/dataset.py of github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models only resizes
    crops=LearntCrops(scale=(1.0, 1.0), flip=False),
    evaluation={"sampler": "ancestral", "samples": 1},
)  # fmt: skip

FAMILY = Family(
    name="palette",
    summary="diffusion in pixels (released Palette .pth checkpoint, or a diffusers UNet2DModel of six input channels)",
    architecture=PaletteArchitecture,
    sizes=SIZES,
    settings=PaletteSettings,
    module="efface.generators.palette.checkpoint",
    recognises=recognises,
    training={"learning_rate": 5e-4, "weight_decay": 0.0},
    release=RELEASE,
    demo=Demo(
        # at more than 16 px a few minutes on two cores do not make a model remember its photos
        architecture={"image_size": 16},
        training={"steps": 1200, "batch_size": 16, "learning_rate": 1e-3, "average": 0.995, **SMALL},
        unlearning={
            "steps": 100,
            "batch_size": 16,
            "learning_rate": 1e-4,
            "corruption": "centre:0.5",
            **SMALL,
        },
        evaluation={"crops_per_image": 4},
        # encoder-noise leaves the context alone, from which so small a model recalls what was in the hole
        method="fresh-noise",
    ),
)
