"""Sizes of latent diffusion models to train from scratch. Importing this module does not import torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from efface.generators.settings import Architecture

GROUPS = 8
"""Groups of every normalisation, so that narrow networks can be built; released ones have 32."""

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"vae_channels": (32, 64, 64), "unet_channels": (64, 128, 128), "layers": 2, "head_dim": 16},
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
