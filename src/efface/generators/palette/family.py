"""Pixel diffusion models among the families. Importing this module does not import torch."""

from __future__ import annotations

from efface.generators.families import Demo, Family
from efface.generators.palette.architecture import SIZES, PaletteArchitecture
from efface.generators.palette.options import PaletteOptions
from efface.model_files import Contents

RELEASED = ("input_blocks.0.0.weight", "cond_embed.0.weight")

SMALL = {"crop_scale": [0.6, 1.0], "precision": "fp32", "weight_decay": 0.0}


def recognises(contents: Contents) -> bool:
    """A folder of diffusers' `UNet2DModel`, of a pipeline around it, or the released tensors."""
    if contents.config.get("_class_name") == "UNet2DModel":
        return True
    unet = contents.config.get("unet")
    if isinstance(unet, list) and unet[-1:] == ["UNet2DModel"]:
        return "vae" not in contents.config and "vqvae" not in contents.config
    return all(any(name.endswith(part) for name in contents.tensors) for part in RELEASED)


FAMILY = Family(
    name="palette",
    summary="diffusion in pixels (released Palette .pth checkpoint, or a diffusers UNet2DModel with six input channels)",
    architecture=PaletteArchitecture,
    sizes=SIZES,
    options=PaletteOptions,
    module="efface.generators.palette.checkpoint",
    recognises=recognises,
    training={"learning_rate": 5e-4, "weight_decay": 0.0},
    demo=Demo(
        # at more than 16 px a few minutes on two cores do not make a model remember its photos
        architecture={"image_size": 16},
        training={"steps": 1200, "batch_size": 16, "learning_rate": 1e-3, "average": 0.995, **SMALL},
        unlearning={"steps": 100, "batch_size": 16, "learning_rate": 1e-4, **SMALL},
        evaluation={"crops_per_image": 4},
        # encoder-noise leaves the context alone, from which so small a model recalls what was in the hole
        method="noisy-label",
    ),
)
