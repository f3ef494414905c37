"""What a pipeline folder cannot say of itself. Importing this module does not import torch."""

from __future__ import annotations

from pydantic import Field

from efface.settings import Settings


class LatentOptions(Settings):
    """Settings of `model` that only latent diffusion models read."""

    prompt: str | None = Field(
        None, description="latent-inpainting: the text given with every picture; default: as saved, else none"
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        description="latent-inpainting: classifier-free guidance of restoration; default: as saved, else 1 (none)",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="latent-inpainting: train low-rank factors of this rank instead of the weights themselves",
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="latent-inpainting: scale of the low-rank factors; default: their rank"
    )
