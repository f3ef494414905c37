"""A tiny token model, and the same written down as the release saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.corruptions import Corruption, parse_corruption
from efface.corruptions.patches import MaskRates
from efface.generators.mage.checkpoint import load
from efface.generators.mage.family import MageSettings
from efface.generators.mage.generator import MageGenerator, MageView
from efface.generators.mage.network import MageModel
from support.tiny_models import draws

SIZE, GRID, CODES = 32, 4, 16
SHAPE: dict[str, Any] = {
    "image_size": SIZE,
    "codebook_size": CODES,
    "code_dimension": 8,
    "tokenizer_patch": 4,
    "tokenizer_channels": 16,
    "tokenizer_multipliers": [1, 1],
    "tokenizer_blocks": 1,
    "tokenizer_groups": 4,
    "vocabulary_size": CODES + 2,
    "class_token": CODES,
    "mask_token": CODES + 1,
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "inner_size": 64,
    "decoder_hidden_size": 24,
    "decoder_layers": 1,
    "decoder_heads": 2,
    "decoder_inner_size": 48,
}
RELEASED_SHAPE: dict[str, Any] = {
    **SHAPE,
    "tokenizer_patch": 1,
    "tokenizer_channels": 32,
    "tokenizer_multipliers": [1, 2, 1],
    "tokenizer_groups": 32,
    "image_size": 16,
    "vocabulary_size": CODES + 1001,
    "class_token": CODES + 76,
    "mask_token": CODES + 1000,
}
"""Channels that grow and shrink again, so that both kinds of shortcut are there."""
HEADS = {"heads": 2, "decoder_heads": 2}
RATES = MaskRates(0.5, 1.0)


def tiny_mage(seed: int = 0, **changes: Any) -> MageGenerator:
    """An untrained token model of 4 x 4 tokens of 8 px and 16 codes, in evaluation mode."""
    return MageGenerator.new(seed, **{**SHAPE, **changes}).eval()


def lively(generator: MageGenerator, distance: float = 0.2) -> MageGenerator:
    """The same with larger random weights: fresh ones give nearly the same output whatever is seen."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=distance)
    return generator


def view_of(
    generator: MageGenerator,
    images: Tensor,
    corruption: Corruption | str = "centre:0.5",
    seed: int = 0,
    visit: int = 0,
    first: int = 0,
) -> MageView:
    chosen = parse_corruption(corruption) if isinstance(corruption, str) else corruption
    seen = generator.view(images, chosen, draws(len(images), seed, visit, first))
    assert isinstance(seen, MageView)
    return seen


def opened(path: Any, **options: Any) -> MageGenerator:
    return load(MageSettings(path=str(path), **options))


def released_tokenizer(network: MageModel) -> dict[str, Tensor]:
    """The tokenizer's state dict under the release's names."""
    result = {}
    for name, tensor in network.tokenizer.state_dict().items():
        new = name.replace("codebook.", "quantize.embedding.")
        new = new.replace(".blocks.", ".block.").replace(".upsample.", ".upsample.conv.")
        new = new.replace(".mid.0.", ".mid.block_1.").replace(".mid.1.", ".mid.block_2.")
        result[new.replace(".shortcut.", ".nin_shortcut.")] = tensor.clone()
    return result


def released_model(network: MageModel) -> dict[str, Tensor]:
    """The token model's state dict under the release's names, with tensors that its network never uses."""
    width, length = network.config.hidden_size, 1 + network.config.grid**2
    result = {
        "cls_token": torch.zeros(1, 1, width),
        "pos_embed": torch.zeros(1, length, width),
        "mask_token": torch.zeros(1, 1, width),
        "patch_embed.proj.weight": torch.zeros(width, 3, 16, 16),
        "patch_embed.proj.bias": torch.zeros(width),
        "decoder_pos_embed": torch.zeros(1, length, width),
        "decoder_pred.weight": torch.zeros(768, width),
        "decoder_pred.bias": torch.zeros(768),
        "token_emb.position_ids": torch.arange(length).unsqueeze(0),
    }
    names = {
        "encoder.embedding.tokens.": "token_emb.word_embeddings.",
        "encoder.embedding.positions.": "token_emb.position_embeddings.",
        "encoder.embedding.norm.": "token_emb.LayerNorm.",
        "encoder.": "",
        "decoder.embedding.": "decoder_embed.",
        "decoder.positions": "decoder_pos_embed_learned",
        "decoder.head.dense.": "mlm_layer.fc.",
        "decoder.head.norm.": "mlm_layer.ln.",
        "decoder.head.bias": "mlm_layer.bias",
        "decoder.": "decoder_",
    }
    inner = {
        ".attention.query_key_value.": ".attn.qkv.",
        ".attention.projection.": ".attn.proj.",
        ".expand.": ".mlp.fc1.",
        ".contract.": ".mlp.fc2.",
    }
    for name, tensor in network.state_dict().items():
        if name.startswith("tokenizer.") or name == "decoder.head.table":
            continue
        start = next(start for start in names if name.startswith(start))
        new = names[start] + name.removeprefix(start)
        for ours, theirs in inner.items():
            new = new.replace(ours, theirs)
        result[new] = tensor.clone().view(1, 1, -1) if new == "mlm_layer.bias" else tensor.clone()
    return result


def save_released(network: MageModel, path: Path, tokenizer: bool = True) -> Path:
    """Write `network` to `path` as the release does, with or without the tokenizer inside."""
    inner = {f"vqgan.{name}": tensor for name, tensor in released_tokenizer(network).items()}
    torch.save({"model": released_model(network) | (inner if tokenizer else {})}, path)
    return path


def save_tokenizer(network: MageModel, path: Path) -> Path:
    torch.save({"state_dict": released_tokenizer(network)}, path)
    return path
