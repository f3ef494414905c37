"""Token models among the families. Importing this module does not import torch."""

from __future__ import annotations

from efface.generators.families import Contents, Family
from efface.generators.mage.architecture import SIZES, MageArchitecture
from efface.generators.mage.options import MageOptions


def recognises(contents: Contents) -> bool:
    """A folder that efface saved, or the tensors of a released checkpoint."""
    return (
        contents.config.get("model_type") == "efface-mage"
        or "token_emb.word_embeddings.weight" in contents.tensors
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
)
