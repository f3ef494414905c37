"""What the file of a pixel diffusion model cannot say of itself. Importing this module does not import torch."""

from __future__ import annotations

from pydantic import Field

from efface.settings import Settings

TRAINED = "the noise schedule of its training"
TESTED = "the noise schedule of the ancestral sampler"


class PaletteOptions(Settings):
    """Settings of `model` that only pixel diffusion models read."""

    palette_image_size: int | None = Field(
        None, ge=8, description="palette: side of the square input in pixels; default: the file's, else 256"
    )
    channels_per_head: int | None = Field(
        None,
        ge=1,
        description="palette: channels of each attention head; default: the folder's, for released checkpoints 32",
    )
    unet_dropout: float | None = Field(
        None, ge=0, lt=1, description="palette: dropout while training; default: the file's, else none"
    )
    train_noise_steps: int | None = Field(
        None, ge=2, description=f"palette: steps of {TRAINED}; default: the file's, else 2000"
    )
    train_noise_start: float | None = Field(
        None, gt=0, lt=1, description=f"palette: first beta of {TRAINED}; default: the file's, else 1e-6"
    )
    train_noise_end: float | None = Field(
        None, gt=0, lt=1, description=f"palette: last beta of {TRAINED}; default: the file's, else 0.01"
    )
    test_noise_steps: int | None = Field(
        None, ge=2, description=f"palette: steps of {TESTED}; default: the file's, else 2000"
    )
    test_noise_start: float | None = Field(
        None, gt=0, lt=1, description=f"palette: first beta of {TESTED}; default: the file's, else 1e-4"
    )
    test_noise_end: float | None = Field(
        None, gt=0, lt=1, description=f"palette: last beta of {TESTED}; default: the file's, else 0.09"
    )
