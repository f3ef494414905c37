"""Latent diffusion models among the families. Importing this module does not import torch."""

from __future__ import annotations

from efface.generators.families import Family
from efface.generators.latent.architecture import SIZES, LatentArchitecture
from efface.generators.latent.options import LatentOptions
from efface.model_files import Contents

NAME = "latent-inpainting"


def recognises(contents: Contents) -> bool:
    """A diffusers pipeline with a UNet and a VAE, or the low-rank factors of one that efface saved."""
    return {"unet", "vae"} <= set(contents.config) or contents.config.get("efface_delta") == NAME


FAMILY = Family(
    name=NAME,
    summary="latent diffusion that fills holes or edits pictures (diffusers StableDiffusionInpaintPipeline or "
    "StableDiffusionInstructPix2PixPipeline)",
    architecture=LatentArchitecture,
    sizes=SIZES,
    options=LatentOptions,
    module="efface.generators.latent.checkpoint",
    recognises=recognises,
    training={"learning_rate": 1e-4},
    first_stage={"learning_rate": 1e-3},
)
