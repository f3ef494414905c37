"""A masked autoencoder written down as facebookresearch/mae saves it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import ViTMAEForPreTraining

MODULES = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.o_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def released(network: ViTMAEForPreTraining) -> dict[str, Tensor]:
    """The state dict of `network` under the release's names, query, key and value in one tensor."""
    state = network.state_dict()
    result = {
        "cls_token": state["vit.embeddings.cls_token"],
        "pos_embed": state["vit.embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["vit.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["vit.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["vit.layernorm.weight"],
        "norm.bias": state["vit.layernorm.bias"],
        "mask_token": state["decoder.mask_token"],
        "decoder_pos_embed": state["decoder.decoder_pos_embed"],
    }
    for module in ("decoder_embed", "decoder_norm", "decoder_pred"):
        for kind in ("weight", "bias"):
            result[f"{module}.{kind}"] = state[f"decoder.{module}.{kind}"]
    for ours, theirs, count in (
        ("vit.layers", "blocks", network.config.num_hidden_layers),
        ("decoder.decoder_layers", "decoder_blocks", network.config.decoder_num_hidden_layers),
    ):
        for number in range(count):
            for kind in ("weight", "bias"):
                parts = [state[f"{ours}.{number}.attention.{part}_proj.{kind}"] for part in "qkv"]
                result[f"{theirs}.{number}.attn.qkv.{kind}"] = torch.cat(parts)
                for module, name in MODULES.items():
                    result[f"{theirs}.{number}.{name}.{kind}"] = state[f"{ours}.{number}.{module}.{kind}"]
    return {name: tensor.clone() for name, tensor in result.items()}


def save_released(network: ViTMAEForPreTraining, path: Any, **more: Any) -> str:
    """Write `network` to `path` in the release's layout, `more` beside the weights."""
    torch.save({"model": released(network), **more}, path)
    return str(path)
