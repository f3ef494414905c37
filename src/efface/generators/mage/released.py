"""The layout of the released files: names of tensors, and the sizes that can be read off them.

Read off checkpoints of LTH14/mage (`mage-vitb-1600.pth`, and the stand-alone VQGAN file beside it); no code of it
is used. Heads cannot be read off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from efface.errors import Faults
from efface.generators.mage.family import MageSettings

INNER_TOKENIZER = "vqgan."
# special tokens lie at fixed distances above the codebook
CLASS_TOKEN, MASK_TOKEN, VOCABULARY = 76, 1000, 1001
POSITIONS = "encoder.embedding.positions.weight"
# widths of ViT-B and ViT-L, and the heads of their encoders; both decoders have 16
ENCODER_HEADS = {768: 12, 1024: 16}
DECODER_HEADS = {768: 16, 1024: 16}
# tensors of the release that its network never uses
UNUSED = re.compile(
    r"cls_token|pos_embed|mask_token|decoder_pos_embed|patch_embed\..*|decoder_pred\..*|token_emb\.position_ids"
)
TOKENIZER_SIZES = ("encoder.conv_in.weight", "encoder.conv_out.weight", "quantize.embedding.weight")
MODEL_SIZES = (
    "token_emb.word_embeddings.weight",
    "decoder_pos_embed_learned",
    "decoder_embed.weight",
    "blocks.0.mlp.fc1.weight",
    "decoder_blocks.0.mlp.fc1.weight",
)

_TOKENIZER_NAMES = (
    (r"quantize\.embedding\.", "codebook."),
    (r"\.down\.(\d+)\.block\.", r".down.\1.blocks."),
    (r"\.up\.(\d+)\.block\.", r".up.\1.blocks."),
    (r"\.upsample\.conv\.", ".upsample."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.mid\.block_1\.", ".mid.0."),
    (r"\.mid\.block_2\.", ".mid.1."),
)
_MODEL_NAMES = (
    (r"^token_emb\.word_embeddings\.", "encoder.embedding.tokens."),
    (r"^token_emb\.position_embeddings\.", "encoder.embedding.positions."),
    (r"^token_emb\.LayerNorm\.", "encoder.embedding.norm."),
    (r"^blocks\.", "encoder.blocks."),
    (r"^norm\.", "encoder.norm."),
    (r"^decoder_embed\.", "decoder.embedding."),
    (r"^decoder_pos_embed_learned$", "decoder.positions"),
    (r"^decoder_blocks\.", "decoder.blocks."),
    (r"^decoder_norm\.", "decoder.norm."),
    (r"^mlm_layer\.fc\.", "decoder.head.dense."),
    (r"^mlm_layer\.ln\.", "decoder.head.norm."),
    (r"^mlm_layer\.bias$", "decoder.head.bias"),
    (r"\.attn\.qkv\.", ".attention.query_key_value."),
    (r"\.attn\.proj\.", ".attention.projection."),
    (r"\.mlp\.fc1\.", ".expand."),
    (r"\.mlp\.fc2\.", ".contract."),
)


def converted_tokenizer(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A stand-alone tokenizer's tensors under the names that `MageModel` has for them."""
    return {f"tokenizer.{_renamed(name, _TOKENIZER_NAMES)}": tensor for name, tensor in released.items()}


def converted_model(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A token model's tensors, without its tokenizer, under the names that `MageModel` has for them."""
    renamed = {
        _renamed(name, _MODEL_NAMES): tensor
        for name, tensor in released.items()
        if not UNUSED.fullmatch(name)
    }
    if (bias := renamed.get("decoder.head.bias")) is not None:
        renamed["decoder.head.bias"] = bias.flatten()
    if (positions := renamed.get(POSITIONS)) is not None:
        renamed[POSITIONS] = positions[: length_of(released)]
    return renamed


def tokenizer_sizes(released: Mapping[str, Tensor]) -> dict[str, Any]:
    """The part of a `MageConfig` that describes the tokenizer, read off its tensors."""
    channels = released["encoder.conv_in.weight"].shape[0]
    levels = _count(released, r"encoder\.down\.(\d+)\.")
    codes, dimension = released["quantize.embedding.weight"].shape
    widths = [
        tensor.shape[0]
        for level in range(levels)
        if (tensor := released.get(f"encoder.down.{level}.block.0.conv2.weight")) is not None
    ]
    return {
        "codebook_size": codes,
        "code_dimension": dimension,
        "tokenizer_patch": 1,
        "tokenizer_channels": channels,
        "tokenizer_multipliers": [width // channels for width in widths],
        "tokenizer_blocks": _count(released, r"encoder\.down\.0\.block\.(\d+)\."),
        "tokenizer_groups": 32,
    }


def model_sizes(released: Mapping[str, Tensor], settings: MageSettings) -> dict[str, Any]:
    """The part of a `MageConfig` that describes the token model; raises `InputError` where heads are not known."""
    vocabulary, width = released["token_emb.word_embeddings.weight"].shape
    decoder_width = released["decoder_embed.weight"].shape[0]
    heads = settings.heads or ENCODER_HEADS.get(width, 0)
    decoder_heads = settings.decoder_heads or DECODER_HEADS.get(decoder_width, 0)
    with Faults("the checkpoint does not say how many attention heads it has") as faults:
        for part, of_width, count, key in (
            ("encoder", width, heads, "heads"),
            ("decoder", decoder_width, decoder_heads, "decoder_heads"),
        ):
            if not count:
                faults.add(f"{part} of width {of_width}: give --set model.{key}=N")
            elif of_width % count:
                faults.add(f"{part} of width {of_width}: model.{key}={count} does not divide it")
    codes = vocabulary - VOCABULARY
    return {
        "vocabulary_size": vocabulary,
        "class_token": codes + CLASS_TOKEN,
        "mask_token": codes + MASK_TOKEN,
        "hidden_size": width,
        "layers": _count(released, r"blocks\.(\d+)\."),
        "heads": heads,
        "inner_size": released["blocks.0.mlp.fc1.weight"].shape[0],
        "decoder_hidden_size": decoder_width,
        "decoder_layers": _count(released, r"decoder_blocks\.(\d+)\."),
        "decoder_heads": decoder_heads,
        "decoder_inner_size": released["decoder_blocks.0.mlp.fc1.weight"].shape[0],
    }


def length_of(released: Mapping[str, Tensor]) -> int:
    """Positions that the network has, the class token's first: those of the decoder.

    The official class gives its encoder 257 at every size of pictures, and reads the first of them.
    """
    return released["decoder_pos_embed_learned"].shape[1]


def token_grid(released: Mapping[str, Tensor]) -> int:
    """Tokens per side."""
    return math.isqrt(length_of(released) - 1)


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        name = re.sub(pattern, replacement, name)
    return name


def _count(released: Mapping[str, Tensor], pattern: str) -> int:
    """How many modules of a numbered list the names speak of."""
    numbers = [int(found[1]) for name in released if (found := re.match(pattern, name))]
    return 1 + max(numbers, default=-1)
