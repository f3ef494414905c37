"""Masked autoencoders among the families. Importing this module does not import torch."""

from __future__ import annotations

from efface.generators.families import Demo, Family
from efface.generators.mae.architecture import SIZES, MaeArchitecture
from efface.generators.mae.options import MaeOptions
from efface.model_files import Contents

SMALL = {"crop_scale": [0.5, 1.0], "precision": "fp32"}


def recognises(contents: Contents) -> bool:
    """A transformers folder of `ViTMAE`, or the tensors of a released checkpoint."""
    # a token model of the released MAGE layout has these tensors too, beside its token embedding
    tokens = any(name.startswith("token_emb.") for name in contents.tensors)
    return contents.config.get("model_type") == "vit_mae" or (
        not tokens and "patch_embed.proj.weight" in contents.tensors
    )


FAMILY = Family(
    name="mae",
    summary="masked autoencoder (transformers ViTMAEForPreTraining, or a released .pth checkpoint)",
    architecture=MaeArchitecture,
    sizes=SIZES,
    options=MaeOptions,
    module="efface.generators.mae.checkpoint",
    recognises=recognises,
    demo=Demo(
        # half of the patches visible teach a small model fastest; bf16 costs it more than it saves
        architecture={"mask_ratio": 0.5},
        training={"steps": 1000, "batch_size": 16, "learning_rate": 2e-3, **SMALL},
        unlearning={"steps": 200, "batch_size": 32, "learning_rate": 1e-3, **SMALL},
        evaluation={"crops_per_image": 8},
    ),
)
