"""Stable Diffusion in one file, `.safetensors` or `.ckpt`: diffusers' own converters, offline.

diffusers fetches the sizes of such a network from the hub; here they are read off the tensors. What the tensors do not
say is that of the releases: eight attention heads, or heads of 64 channels where projections are linear (Stable
Diffusion 2, XL), heads of 64 channels in the text encoders, the noise schedule, and how latents are scaled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders import single_file_utils as ldm
from pydantic import JsonValue
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from efface.errors import Faults, InputError
from efface.generators.latent.family import SINGLE_FILE
from efface.generators.latent.folder import Parts, check_shapes
from efface.generators.latent.network import UNET, VAE, LatentNetwork
from efface.generators.latent.pipeline import SCHEDULE
from efface.model_bounds import bounded
from efface.state_dicts import AVERAGED, PLAIN
from efface.weights import Weights, check_tensors, quiet, read_weights
from efface.wording import printable

UNET_NAMES, VAE_NAMES = "model.diffusion_model.", "first_stage_model."
CLIP_NAMES, OPEN_CLIP_NAMES = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
XL_FIRST, XL_SECOND = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
ENCODERS, OPEN = (CLIP_NAMES, OPEN_CLIP_NAMES, XL_FIRST, XL_SECOND), (OPEN_CLIP_NAMES, XL_SECOND)
"""How the text encoders of Stable Diffusion 1, 2 and XL are called in a file, and which of them are OpenCLIP's."""
XL_SIZES = f"{UNET_NAMES}label_emb.0.0.weight"
XL_SIDE, XL_SCALE = 1024, 0.13025
"""Of the pictures of Stable Diffusion XL, and how its latents are scaled."""
NEEDED = (
    SINGLE_FILE, f"{UNET_NAMES}out.2.weight", f"{UNET_NAMES}input_blocks.1.0.out_layers.3.weight",
    f"{VAE_NAMES}encoder.conv_in.weight", f"{VAE_NAMES}decoder.conv_out.weight", f"{VAE_NAMES}post_quant_conv.weight",
)  # fmt: skip
HEADS, HEAD_CHANNELS = 8, 64
FIRST, LAST, LENGTH = 49406, 49407, 77
"""CLIP's tokens around a prompt, and the tokens of a prompt with its padding."""


def read_single_file(path: Path, entry: str | None, tokenizer: str | None) -> tuple[Parts, Weights]:
    """The parts of a Stable Diffusion pipeline in one file, in float32; raises `InputError` naming what is wrong.

    tokenizer: the folder of one; without it the model is told nothing, an empty prompt.
    """
    weights = _with_average(path, entry) if AVERAGED.search(entry or "") else read_weights(path, entry)
    tensors = weights.tensors
    if missing := [name for name in NEEDED if name not in tensors]:
        raise InputError(
            f"{printable(str(path))} is Stable Diffusion in one file, and cannot be converted: it has no "
            f"{', '.join(missing)}. Take the file of the whole pipeline, or a folder of diffusers"
        )
    is_xl = XL_SIZES in tensors
    params = {"unet_config": {"params": _unet(tensors)}, "first_stage_config": _vae(tensors)}
    layout = {"model": {"params": {**params, **({"scale_factor": XL_SCALE} if is_xl else {})}}}
    with quiet(), bounded(str(path)):
        configs = {
            "unet": ldm.create_unet_diffusers_config_from_ldm(layout, tensors),
            "vae": ldm.create_vae_diffusers_config_from_ldm(layout, tensors),
        }
        encoders = {
            names: _text_encoder(tensors, names)
            for names in ENCODERS
            if any(name.startswith(names) for name in tensors)
        }
        for number, encoder in zip(("", "_2"), encoders.values(), strict=False):
            configs[f"text_encoder{number}"] = encoder.config.to_dict()
        if is_xl:
            configs["unet"] |= _xl_sizes(tensors, configs)
        with Faults(f"the pipeline in {printable(str(path))} cannot be used") as faults:
            check_shapes(configs, faults)
        parts: dict[str, Any] = {
            "unet": UNET.from_config(configs["unet"]),
            "vae": VAE.from_config(configs["vae"]),
        }
        converted = {
            "unet": ldm.convert_ldm_unet_checkpoint(tensors, configs["unet"]),
            "vae": ldm.convert_ldm_vae_checkpoint(tensors, configs["vae"]),
        }
        for name, network in parts.items():
            check_tensors(f"{name} in {path}", converted[name], network.state_dict())
            network.load_state_dict(converted[name])
        words = [_tokenizer(tokenizer, pad="!" if names in OPEN else "") for names in encoders]
    network = LatentNetwork(parts["unet"].eval(), parts["vae"].eval(), *encoders.values())
    return Parts(network, words, dict(SCHEDULE), [], zeros_for_none=is_xl), weights


def _with_average(path: Path, entry: str | None) -> Weights:
    """The file's weights with averaged ones in place of the UNet's, whose names are the same without dots."""
    plain, averaged = read_weights(path, PLAIN), read_weights(path, entry, wanted=("diffusion_model",))
    flat = {name: "".join(name.split(".")[1:]) for name in plain.tensors if name.startswith(UNET_NAMES)}
    if missing := [name for name, short in flat.items() if short not in averaged.tensors]:
        raise InputError(f"{printable(str(path))}: the entry '{entry}' has no average of {missing[0]}")
    return Weights(
        {**plain.tensors, **{name: averaged.tensors[short] for name, short in flat.items()}}, averaged.notes
    )


def _unet(tensors: Mapping[str, Tensor]) -> dict[str, JsonValue]:
    """What the training config of the release says of its UNet."""
    width, taken = tensors[SINGLE_FILE].shape[:2]
    blocks = 1 + max(
        int(found[1]) for name in tensors if (found := re.match(rf"{UNET_NAMES}input_blocks\.(\d+)\.", name))
    )
    depth: list[int] = [0]
    widths: list[int] = [0]
    per_level, context, linear = [0], 0, False
    for block in range(1, blocks):
        place = f"{UNET_NAMES}input_blocks.{block}."
        if f"{place}0.op.weight" in tensors:
            for counted in (depth, widths, per_level):
                counted.append(0)
            continue
        per_level[-1] += 1
        widths[-1] = tensors[f"{place}0.out_layers.3.weight"].shape[0]
        if f"{place}1.proj_in.weight" in tensors:
            linear = tensors[f"{place}1.proj_in.weight"].ndim == 2
            context = tensors[f"{place}1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
            depth[-1] = len(
                {name.split(".")[6] for name in tensors if name.startswith(f"{place}1.transformer_blocks.")}
            )
    heads = {"num_head_channels": HEAD_CHANNELS} if linear else {"num_heads": HEADS}
    return {
        "in_channels": taken,
        "out_channels": tensors[f"{UNET_NAMES}out.2.weight"].shape[0],
        "model_channels": width,
        "channel_mult": [level // width for level in widths],
        "num_res_blocks": per_level[0],
        "attention_resolutions": [2**level for level, count in enumerate(depth) if count],
        "transformer_depth": [max(count, 1) for count in depth],
        "context_dim": context or None,
        "use_linear_in_transformer": linear,
        **heads,
    }


def _xl_sizes(tensors: Mapping[str, Tensor], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the UNet of Stable Diffusion XL is told beside the timestep: six sizes and a pooled prompt."""
    told = tensors[XL_SIZES].shape[1]
    second = configs.get("text_encoder_2", {}).get("projection_dim", 0)
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (told - second) // 6,
        "projection_class_embeddings_input_dim": told,
        "sample_size": XL_SIDE >> (len(configs["vae"]["block_out_channels"]) - 1),
    }


def _vae(tensors: Mapping[str, Tensor]) -> dict[str, JsonValue]:
    first = tensors[f"{VAE_NAMES}encoder.conv_in.weight"]
    widths = {
        int(found[1]): tensor.shape[0]
        for name, tensor in tensors.items()
        if (found := re.match(rf"{VAE_NAMES}encoder\.down\.(\d+)\.block\.0\.conv2\.weight", name))
    }
    blocks = {name.split(".")[5] for name in tensors if name.startswith(f"{VAE_NAMES}encoder.down.0.block.")}
    return {
        "params": {
            "ddconfig": {
                "ch": first.shape[0],
                "ch_mult": [widths[level] // first.shape[0] for level in sorted(widths)],
                "num_res_blocks": len(blocks),
                "in_channels": first.shape[1],
                "out_ch": tensors[f"{VAE_NAMES}decoder.conv_out.weight"].shape[0],
                "z_channels": tensors[f"{VAE_NAMES}post_quant_conv.weight"].shape[0],
            }
        }
    }


def _text_encoder(tensors: Mapping[str, Tensor], names: str) -> Any:
    """The text encoder whose tensors begin with `names`; of Stable Diffusion 2 OpenCLIP without its last layer."""
    is_open, is_second = names in OPEN, names == XL_SECOND
    shape = {
        name.removeprefix(names): tensor.shape for name, tensor in tensors.items() if name.startswith(names)
    }
    tokens = shape["token_embedding.weight" if is_open else "embeddings.token_embedding.weight"]
    inner = next(
        sizes[0] for name, sizes in shape.items() if name.endswith(("mlp.c_fc.weight", "mlp.fc1.weight"))
    )
    layers = {int(found[1]) for name in shape if (found := re.search(r"(?:resblocks|layers)\.(\d+)\.", name))}
    left_out = f"encoder.layers.{len(layers) - 1}." if names == OPEN_CLIP_NAMES else None
    config = CLIPTextConfig(
        vocab_size=tokens[0],
        hidden_size=tokens[1],
        intermediate_size=inner,
        num_hidden_layers=len(layers) - (left_out is not None),
        num_attention_heads=max(tokens[1] // HEAD_CHANNELS, 1),
        max_position_embeddings=LENGTH,
        hidden_act="gelu" if is_open else "quick_gelu",
        bos_token_id=FIRST,
        eos_token_id=LAST,
        projection_dim=shape["text_projection"][1] if is_second else 512,
    )
    model: Any = CLIPTextModelWithProjection(config) if is_second else CLIPTextModel(config)
    if is_open:
        converted = ldm.convert_open_clip_checkpoint(model, dict(tensors), prefix=names)
    else:
        converted = ldm.convert_ldm_clip_checkpoint(dict(tensors))
    wanted = model.state_dict()
    given = {
        name if name in wanted else name.removeprefix("text_model."): tensor
        for name, tensor in converted.items()
        if not name.endswith("position_ids") and not (left_out and left_out in name)
    }
    if not is_second:
        given.pop("text_projection.weight", None)
    check_tensors("the text encoder", given, wanted)
    model.load_state_dict(given)
    return model.eval()


def _tokenizer(folder: str | None, pad: str) -> Any:
    """CLIP's, from a folder; else one that knows no word, whose only prompt is the empty one."""
    if folder is not None:
        if not Path(folder).is_dir():
            raise InputError(f"model.text_tokenizer: {printable(folder)} is no folder")
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    special = {"<|startoftext|>": FIRST, "<|endoftext|>": LAST, **({pad: 0} if pad else {})}
    return CLIPTokenizer(special, [], pad_token=pad or "<|endoftext|>", model_max_length=LENGTH)
