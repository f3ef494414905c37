"""Token models among the families. Importing this module does not import torch."""

from __future__ import annotations

from efface.generators.families import Demo, Family
from efface.generators.mage.architecture import SIZES, MageArchitecture
from efface.generators.mage.options import MageOptions
from efface.model_files import Contents

SMALL = {"crop_scale": [0.5, 1.0], "precision": "fp32"}


def recognises(contents: Contents) -> bool:
    """A folder that efface saved, or the tensors of a released checkpoint (of a tokenizer alone, to say what it lacks)."""
    return (
        contents.config.get("model_type") == "efface-mage"
        or "token_emb.word_embeddings.weight" in contents.tensors
        or {"quantize.embedding.weight", "encoder.conv_in.weight"} <= contents.tensors
    )


FAMILY = Family(
    name="mage",
    summary="masked image tokens on a VQ-GAN tokenizer (a folder of efface, or a released MAGE .pth checkpoint)",
    architecture=MageArchitecture,
    sizes=SIZES,
    options=MageOptions,
    module="efface.generators.mage.checkpoint",
    recognises=recognises,
    training={"learning_rate": 1e-3},
    first_stage={"learning_rate": 2e-3, "weight_decay": 0.0, "clip": 1.0},
    demo=Demo(
        first_stage={"steps": 400, "batch_size": 16, "learning_rate": 2e-3, **SMALL},
        training={"steps": 1200, "batch_size": 16, "learning_rate": 1e-3, "crops_per_image": 64, **SMALL},
        unlearning={"steps": 150, "batch_size": 16, "learning_rate": 1e-3, "crops_per_image": 64, **SMALL},
        # a small model is surer than its tokens' spread says: hardly any randomness restores best
        evaluation={"crops_per_image": 8, "sampler": "confidence:8,0.5,0"},
    ),
)
