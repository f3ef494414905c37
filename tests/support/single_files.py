"""Stable Diffusion as it was trained, in one state dict: the names that the release gives to what diffusers has."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding", "embeddings.token_embedding.": "token_embedding.",
    "final_layer_norm": "ln_final", "encoder.layers.": "transformer.resblocks.", "self_attn": "attn", "layer_norm1": "ln_1",
    "layer_norm2": "ln_2", "fc1": "c_fc", "fc2": "c_proj", "text_projection.weight": "text_projection",
}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def single_file(unet: Any, vae: Any, text_encoder: Any = None, second: Any = None) -> dict[str, Tensor]:
    """The tensors of such a file for these parts of a pipeline. second: the other text encoder of Stable Diffusion XL."""
    depth, levels = int(unet.config.layers_per_block), len(vae.config.block_out_channels)
    tensors = {}
    for name, tensor in unet.state_dict().items():
        tensors[f"model.diffusion_model.{_unet(name, depth, unet.state_dict())}"] = tensor
    for name, tensor in vae.state_dict().items():
        released = _vae(name, levels)
        convolved = ".mid.attn_1." in released and "norm" not in released and tensor.ndim == 2
        tensors[f"first_stage_model.{released}"] = tensor[..., None, None] if convolved else tensor
    first = "conditioner.embedders.0" if second else "cond_stage_model"
    for name, tensor in text_encoder.state_dict().items() if text_encoder else ():
        tensors[f"{first}.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    if second:
        tensors |= {
            f"conditioner.embedders.1.model.{name}": tensor for name, tensor in open_clip(second).items()
        }
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def _unet(name: str, depth: int, all_names: Any) -> str:
    for ours, released in ENDS.items():
        if name.startswith(f"{ours}."):
            name = name.replace(ours, released, 1)
    if found := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name):
        path, level, what, place = found[1], int(found[2]), found[3], int(found[4])
        block = (depth + 1) * level + place + (path == "down")
        name = f"{'input' if path == 'down' else 'output'}_blocks.{block}.{int(what == 'attentions')}.{name[found.end() :]}"
    if found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.", name):
        name = f"input_blocks.{(depth + 1) * (int(found[1]) + 1)}.0.op.{name[found.end() :]}"
    if found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.", name):
        last = 2 if any(f"up_blocks.{found[1]}.attentions" in other for other in all_names) else 1
        name = f"output_blocks.{(depth + 1) * int(found[1]) + depth}.{last}.{name[found.end() :]}"
    for ours, released in RESNET.items():
        if ".transformer_blocks." not in name:
            name = name.replace(f".{ours}.", f".{released}.")
    return name


def _vae(name: str, levels: int) -> str:
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block.", name)
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", name)
    for what, released in (("resnets.", "block."), ("upsamplers.0.", "upsample.")):
        name = re.sub(
            rf"decoder\.up_blocks\.(\d+)\.{what}",
            lambda found, released=released: f"decoder.up.{levels - 1 - int(found[1])}.{released}",
            name,
        )
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        for ours, released in ATTENTION.items():
            name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{released}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def open_clip(encoder: Any) -> dict[str, Tensor]:
    """A text encoder by the names of OpenCLIP, its three projections in one tensor."""
    own = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    tensors: dict[str, Tensor] = {"logit_scale": torch.tensor(4.6)}
    for name, tensor in own.items():
        released = name
        for ours, theirs in OPEN_CLIP.items():
            released = released.replace(ours, theirs)
        if ".q_proj." in name:
            joined = torch.cat([own[name.replace(".q_proj.", f".{one}_proj.")] for one in "qkv"])
            tensors[released.replace("q_proj.", "in_proj_")] = joined
        elif ".k_proj." not in name and ".v_proj." not in name:
            tensors[released] = tensor.T if released == "text_projection" else tensor
    return tensors
