"""The family `mae`: settings of masked autoencoders, and the shape of new ones. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, PositiveFloat

from efface.generators.families import Architecture, Demo, Family, ModelSettings
from efface.model_files import Contents


class MaeSettings(ModelSettings):
    """Where a masked autoencoder lies, and what its file cannot say of itself."""

    norm_pix_loss: bool | None = Field(
        None,
        description="trained on patches normalised by their own statistics; default: as the file says",
    )
    heads: int | None = Field(
        None, ge=1, description="encoder heads of a released checkpoint of unusual width"
    )
    decoder_heads: int | None = Field(
        None, ge=1, description="decoder heads of a released checkpoint of unusual width"
    )
    image_mean: tuple[float, float, float] | None = Field(
        None, description="channel means of the training input; default: the file's, else ImageNet's"
    )
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="channel standard deviations of the training input; default: the file's, else ImageNet's",
    )


SIZES: dict[str, dict[str, JsonValue]] = {
    "tiny": {},
    "small": {
        "hidden_size": 256, "layers": 6, "heads": 8,
        "decoder_hidden_size": 128, "decoder_layers": 2, "decoder_heads": 4,
    },
    "base": {
        "image_size": 224, "patch_size": 16, "hidden_size": 768, "layers": 12, "heads": 12,
        "decoder_hidden_size": 512, "decoder_layers": 8, "decoder_heads": 16,
    },
    "large": {
        "image_size": 224, "patch_size": 16, "hidden_size": 1024, "layers": 24, "heads": 16,
        "decoder_hidden_size": 512, "decoder_layers": 8, "decoder_heads": 16,
    },
}  # fmt: skip
"""What each size changes of the defaults below; `base` and `large` are those of He et al. 2022."""


class MaeArchitecture(Architecture):
    """The shape of a masked autoencoder; the defaults are the size `tiny`."""

    patch_size: int = Field(8, ge=1, description="side of a patch in pixels")
    hidden_size: int = Field(128, ge=4, description="encoder width, a multiple of 4 and of its heads")
    layers: int = Field(4, ge=1, description="encoder blocks")
    heads: int = Field(4, ge=1, description="encoder attention heads")
    decoder_hidden_size: int = Field(96, ge=4, description="decoder width, a multiple of 4 and of its heads")
    decoder_layers: int = Field(2, ge=1, description="decoder blocks")
    decoder_heads: int = Field(4, ge=1, description="decoder attention heads")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of patches hidden in training")
    norm_pix_loss: bool = Field(False, description="predict patches normalised by their own statistics")

    def faults(self) -> list[str]:
        """What does not fit together."""
        problems = []
        if self.image_size % self.patch_size:
            problems.append(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        for part, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % 4 or width % heads:
                problems.append(f"{part} {width} is not a multiple of 4 and of its {heads} heads")
        return problems

    def transformers_config(self) -> dict[str, Any]:
        """The arguments of transformers' `ViTMAEConfig`."""
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden_size,
            "decoder_hidden_size": self.decoder_hidden_size,
            "decoder_num_hidden_layers": self.decoder_layers,
            "decoder_num_attention_heads": self.decoder_heads,
            "decoder_intermediate_size": 4 * self.decoder_hidden_size,
            "mask_ratio": self.mask_ratio,
            "norm_pix_loss": self.norm_pix_loss,
            "layer_norm_eps": 1e-6,
        }


SMALL: dict[str, JsonValue] = {"crop_scale": [0.5, 1.0], "precision": "fp32"}


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
    settings=MaeSettings,
    module="efface.generators.mae.checkpoint",
    recognises=recognises,
    demo=Demo(
        # half of the patches visible teach a small model fastest; bf16 costs it more than it saves
        architecture={"mask_ratio": 0.5},
        training={"steps": 1000, "batch_size": 16, "learning_rate": 2e-3, **SMALL},
        unlearning={
            "steps": 200,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "corruption": "centre:0.5",
            **SMALL,
        },
        evaluation={"crops_per_image": 8},
    ),
)
