"""The family `latent-inpainting`: settings of latent diffusion models, and the shape of new ones. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from efface.generators.families import Architecture, Family, ModelSettings
from efface.model_files import Contents


class LatentSettings(ModelSettings):
    """Where a latent diffusion model lies, and what its folder cannot say of itself."""

    prompt: str | None = Field(
        None, description="the text given with every picture; default: as saved, else none"
    )
    guidance_scale: float | None = Field(
        None,
        ge=1,
        description="classifier-free guidance of restoration; default: as saved, else 1 (none)",
    )
    train_adapter: bool = Field(
        False,
        description="a LoRA adapter given as the model is trained itself, not added to the weights of its base",
    )
    text_tokenizer: str | None = Field(
        None, description="a folder with CLIP's tokenizer, for prompts to a model in one file, which has none"
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="train low-rank factors of this rank instead of the weights themselves",
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="scale of the low-rank factors; default: their rank"
    )


GROUPS = 8
"""Groups of every normalisation, so that narrow networks can be built; released ones have 32."""

SIZES: dict[str, dict[str, JsonValue]] = {
    "tiny": {},
    "small": {"vae_channels": [32, 64, 64], "unet_channels": [64, 128, 128], "layers": 2, "head_dim": 16},
}
"""What each size changes of the defaults below. Larger models are fine-tuned from released ones, not begun anew."""


class LatentArchitecture(Architecture):
    """The shape of a VAE and its UNet; the defaults are the size `tiny`. There is no text encoder."""

    kind: Literal["inpainting", "instruct"] = Field(
        "inpainting",
        description="inpainting: restores a hole; instruct: is shown a whole degraded or other picture",
    )
    image_size: int = Field(64, ge=8, description="side of the square input in pixels")
    latent_channels: int = Field(4, ge=1, description="channels of the VAE's latents")
    vae_channels: tuple[int, ...] = Field(
        (16, 32, 32), min_length=1, description="VAE widths; the picture is halved between two of them"
    )
    unet_channels: tuple[int, ...] = Field(
        (32, 64), min_length=2, description="UNet widths; latents are halved between two of them"
    )
    layers: int = Field(1, ge=1, description="residual blocks for each width of the UNet")
    head_dim: int = Field(8, ge=1, description="channels of an attention head")
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "epsilon", description="what the UNet predicts: the noise, or the velocity of Salimans and Ho 2022"
    )

    @property
    def latent_side(self) -> int:
        return self.image_size >> (len(self.vae_channels) - 1)

    def faults(self) -> list[str]:
        faults = []
        halvings = len(self.vae_channels) + len(self.unet_channels) - 2
        if self.image_size % 2**halvings:
            faults.append(
                f"image_size {self.image_size} is no multiple of {2**halvings}, by which the VAE and the UNet together "
                "reduce it"
            )
        for name in ("vae_channels", "unet_channels"):
            if odd := [str(width) for width in getattr(self, name) if width < 1 or width % GROUPS]:
                faults.append(f"{name} must be multiples of {GROUPS}, not {', '.join(odd)}")
        if odd := [str(width) for width in self.unet_channels if width % self.head_dim]:
            faults.append(f"head_dim {self.head_dim} does not divide unet_channels {', '.join(odd)}")
        return faults


NAME = "latent-inpainting"
SINGLE_FILE = "model.diffusion_model.input_blocks.0.0.weight"
SINGLE_FILE_AVERAGE = "diffusion_modelinput_blocks00weight"
"""A tensor of Stable Diffusion in one file, as it was trained, and the same of the average of its UNet."""


def recognises(contents: Contents) -> bool:
    """A diffusers pipeline with a UNet and a VAE, Stable Diffusion in one file, or factors that efface saved alone."""
    return (
        {"unet", "vae"} <= set(contents.config)
        or contents.config.get("efface_delta") == NAME
        or bool({SINGLE_FILE, SINGLE_FILE_AVERAGE} & contents.tensors)
    )


FAMILY = Family(
    name=NAME,
    summary="latent diffusion that fills holes or edits pictures (diffusers StableDiffusionInpaintPipeline, its XL, or "
    "StableDiffusionInstructPix2PixPipeline)",
    architecture=LatentArchitecture,
    sizes=SIZES,
    settings=LatentSettings,
    module="efface.generators.latent.checkpoint",
    recognises=recognises,
    training={"learning_rate": 1e-4},
    first_stage={"learning_rate": 1e-3},
)
