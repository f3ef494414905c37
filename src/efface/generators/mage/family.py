"""The family `mage`: settings of token models, and the shape of new ones. Imports no torch."""

from __future__ import annotations

from pydantic import Field, JsonValue

from efface.generators.families import Architecture, Demo, Family, LearntCrops, ModelSettings, Release
from efface.model_files import Contents


class MageSettings(ModelSettings):
    """Where a token model lies, and what its file cannot say of itself."""

    tokenizer: str | None = Field(
        None,
        description="a stand-alone VQGAN file in place of the tokenizer that the model's file holds",
    )
    tied: bool | None = Field(
        None,
        description="the output layer reads the encoder's token table, as released, so that training the "
        "encoder changes the decoder too; default: it has its own copy, or what a saved folder says",
    )
    leaky: bool | None = Field(
        None,
        description="under the model's own token masks, visible tokens are those of the whole picture, as released; false: "
        "of the picture with what is masked filled, which each step has to tokenize anew; default: true, or what a saved "
        "folder says",
    )
    heads: int | None = Field(
        None, ge=1, description="encoder heads of a released checkpoint of unusual width"
    )
    decoder_heads: int | None = Field(
        None, ge=1, description="decoder heads of a released checkpoint of unusual width"
    )


_RELEASED: dict[str, JsonValue] = {
    "image_size": 256, "codebook_size": 1024, "code_dimension": 256, "tokenizer_patch": 1, "tokenizer_channels": 128,
    "tokenizer_multipliers": [1, 1, 2, 2, 4], "tokenizer_blocks": 2, "tokenizer_groups": 32, "decoder_layers": 8,
    "decoder_heads": 16,
}  # fmt: skip
SIZES: dict[str, dict[str, JsonValue]] = {
    "tiny": {},
    "small": {
        "codebook_size": 512, "code_dimension": 64, "tokenizer_patch": 2, "tokenizer_channels": 64,
        "tokenizer_multipliers": [1, 1, 1], "hidden_size": 256, "layers": 6, "heads": 8, "decoder_hidden_size": 256,
        "decoder_layers": 4, "decoder_heads": 8,
    },
    "base": {**_RELEASED, "hidden_size": 768, "layers": 12, "heads": 12, "decoder_hidden_size": 768},
    "large": {**_RELEASED, "hidden_size": 1024, "layers": 24, "heads": 16, "decoder_hidden_size": 1024},
}  # fmt: skip
"""What each size changes of the defaults below; `base` and `large` are those of Li et al. 2023."""


class MageArchitecture(Architecture):
    """The shape of a token model and of its tokenizer; the defaults are the size `tiny`."""

    image_size: int = Field(64, ge=8, description="side of the square input in pixels")
    codebook_size: int = Field(256, ge=2, description="number of different tokens")
    code_dimension: int = Field(32, ge=1, description="length of a token's vector in the codebook")
    tokenizer_patch: int = Field(
        4, ge=1, description="side of the pixel blocks that the tokenizer starts from"
    )
    tokenizer_channels: int = Field(64, ge=1, description="channels of the tokenizer's first level")
    tokenizer_multipliers: tuple[int, ...] = Field(
        (1, 1), min_length=1, description="channels of each level of the tokenizer, in units of the first"
    )
    tokenizer_blocks: int = Field(1, ge=1, description="residual blocks per level of the tokenizer")
    tokenizer_groups: int = Field(8, ge=1, description="groups of the tokenizer's group norms")
    hidden_size: int = Field(128, ge=1, description="encoder width, a multiple of its heads")
    layers: int = Field(4, ge=1, description="encoder blocks")
    heads: int = Field(4, ge=1, description="encoder attention heads")
    decoder_hidden_size: int = Field(128, ge=1, description="decoder width, a multiple of its heads")
    decoder_layers: int = Field(2, ge=1, description="decoder blocks")
    decoder_heads: int = Field(4, ge=1, description="decoder attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout behind the token embedding, in training")
    mask_rate_least: float = Field(0.5, ge=0, lt=1, description="least share of tokens hidden in training")
    mask_rate_most: float = Field(1.0, gt=0, le=1, description="largest share of tokens hidden in training")
    tied: bool = Field(False, description="the output layer reads the encoder's token table, as released")
    leaky: bool = Field(
        True,
        description="under its own token masks it is fed tokens of the whole picture, as released; false: of the picture "
        "with what is masked filled",
    )

    @property
    def token_side(self) -> int:
        """Pixels per token and side."""
        return self.tokenizer_patch << (len(self.tokenizer_multipliers) - 1)

    def faults(self) -> list[str]:
        """What does not fit together."""
        problems = []
        if self.image_size % self.token_side:
            problems.append(
                f"image_size {self.image_size} is not a multiple of the {self.token_side} px of a token "
                "(tokenizer_patch times 2 for each further level)"
            )
        for part, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % heads:
                problems.append(f"{part} {width} is not a multiple of its {heads} heads")
        if any(multiplier < 1 for multiplier in self.tokenizer_multipliers):
            problems.append("tokenizer_multipliers must be 1 or more")
        if self.tokenizer_channels % self.tokenizer_groups:
            problems.append(
                f"tokenizer_channels {self.tokenizer_channels} is not a multiple of its "
                f"{self.tokenizer_groups} groups"
            )
        if self.mask_rate_least > self.mask_rate_most:
            problems.append(
                f"mask_rate_least {self.mask_rate_least} is above mask_rate_most {self.mask_rate_most}"
            )
        return problems


SMALL: dict[str, JsonValue] = {"crop_scale": [0.5, 1.0], "precision": "fp32"}


def recognises(contents: Contents) -> bool:
    """A folder that efface saved, or the tensors of a released checkpoint (of a tokenizer alone, to say what it lacks)."""
    return (
        contents.config.get("model_type") == "efface-mage"
        or "token_emb.word_embeddings.weight" in contents.tensors
        or {"quantize.embedding.weight", "encoder.conv_in.weight"} <= contents.tensors
    )


_BASELINE: dict[str, JsonValue] = {"batch_size": 64, "learning_rate": 2.5e-5}
RELEASE = Release(
    source="github.com/jpmorganchase/i2i_mage, branch i2i (Li et al., ICLR 2024)",
    # six epochs (an earlier commit said 50, with an unused early_epochs of 6; its t-SNE reads checkpoint 5), of which five
    # warm-up, 32 pictures (baselines: 16) on each of 4 GPUs, a rate of 1e-4 for 256 pictures
    training={
        "epochs": 6, "batch_size": 128, "learning_rate": 5e-5, "optimizer": "adamw", "betas": [0.9, 0.95],
        "weight_decay": 0.05, "schedule": "cosine", "warmup": 5 / 6, "clip": 3.0, "average": None,
        "crop_scale": [0.2, 1.0], "flip": True, "crops_per_image": None, "corruption": "mask-rates:0.5,1",
    },
    methods={
        "encoder-noise": {"alpha": 0.2, "noise": "batch-matched", "norm": "mse"},
        "max-loss": {"alpha": 0.2, "training": _BASELINE},
        "noisy-label": {"alpha": 0.2, "training": _BASELINE},
        "retain-label": {"alpha": 0.2, "training": _BASELINE},
        "random-encoder": {"alpha": 0.2, "norm": "mse", "training": _BASELINE},
    },
    # main_pretrain.py of github.com/LTH14/mage
    crops=LearntCrops(scale=(0.2, 1.0), flip=True),
    evaluation={"sampler": "maskgit:20,6", "samples": 1},
)  # fmt: skip

FAMILY = Family(
    name="mage",
    summary="masked image tokens on a VQ-GAN tokenizer (a folder of efface, or a released MAGE .pth checkpoint)",
    architecture=MageArchitecture,
    sizes=SIZES,
    settings=MageSettings,
    module="efface.generators.mage.checkpoint",
    recognises=recognises,
    training={"learning_rate": 1e-3},
    first_stage={"learning_rate": 2e-3, "weight_decay": 0.0, "clip": 1.0},
    release=RELEASE,
    # trains under the model's own masks, on tokens of whole pictures as released
    demo=Demo(
        first_stage={"steps": 400, "batch_size": 16, "learning_rate": 2e-3, **SMALL},
        training={"steps": 1200, "batch_size": 16, "learning_rate": 1e-3, "crops_per_image": 64, **SMALL},
        unlearning={
            "steps": 150,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "crops_per_image": 64,
            "corruption": "centre:0.5",
            **SMALL,
        },
        # a small model is surer than its tokens' spread says: hardly any randomness restores best
        evaluation={"crops_per_image": 8, "sampler": "confidence:8,0.5,0"},
    ),
)
