"""Opening and making masked autoencoders: transformers folders, here or on the hub, and the released layout.

Pickles are read with `weights_only=True`; a file that asks for anything else is refused by name. Tensor
names of the release were read off facebookresearch/mae checkpoints; no code of it is used.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from efface.documents import read_object
from efface.errors import Faults, InputError
from efface.files import sha256_of_file
from efface.generators.families import Architecture
from efface.generators.mae.family import MaeArchitecture, MaeSettings
from efface.generators.mae.generator import IMAGENET_MEAN, IMAGENET_STD, MaeGenerator
from efface.generators.mae.risks import risks
from efface.hub import hub_facts, source_of
from efface.model_files import beside
from efface.weights import (
    READING,
    SHOWN_TENSORS,
    check_fit,
    pretrained,
    quiet,
    read_weights,
    reading,
    stored_facts,
)
from efface.wording import several

__all__ = ["load", "new", "risks"]

# widths of the released networks and their heads: ViT-B, ViT-L, ViT-H, and the common decoder
ENCODER_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
DECODER_HEADS = {512: 16}
RELEASED_EPSILON = 1e-6
SIZES_READ_OFF = (
    "pos_embed",
    "blocks.0.mlp.fc1.weight",
    "decoder_embed.weight",
    "decoder_blocks.0.mlp.fc1.weight",
)


def load(settings: MaeSettings) -> MaeGenerator:
    """A masked autoencoder from wherever `settings` says; raises `InputError` naming all faults."""
    path = Path(settings.path)
    if path.is_file():
        network, origin = _load_released(path, settings)
        statistics: dict[str, Any] = {}
    else:
        network, origin = _load_transformers(settings)
        statistics = _preprocessor(settings)
    mean = settings.image_mean or statistics.get("image_mean") or IMAGENET_MEAN
    std = settings.image_std or statistics.get("image_std") or IMAGENET_STD
    origin["image_statistics"] = (
        "settings"
        if settings.image_mean or settings.image_std
        else "file"
        if statistics
        else "ImageNet (assumed)"
    )
    if network.config.num_channels == 1:
        said = origin.get(READING, [])
        origin[READING] = [*said, "pictures: shown and restored in grey, as the network has one channel"]
    return MaeGenerator(network, tuple(mean), tuple(std), origin)


def new(architecture: Architecture, seed: int) -> MaeGenerator:
    """An untrained masked autoencoder."""
    assert isinstance(architecture, MaeArchitecture)
    return MaeGenerator.new(seed, **architecture.transformers_config())


def converted(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict under the names in which transformers stores a masked autoencoder."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in released.items():
        for new_name, new_tensor in _renamed(name, tensor):
            renamed[new_name] = new_tensor
    return renamed


def configuration(released: dict[str, Tensor], settings: MaeSettings, norm_pix_loss: bool) -> ViTMAEConfig:
    """The architecture that a released state dict belongs to, read off its shapes."""
    width, channels, patch, _ = released["patch_embed.proj.weight"].shape
    decoder_width = released["decoder_embed.weight"].shape[0]
    grid = round((released["pos_embed"].shape[1] - 1) ** 0.5)
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
    return ViTMAEConfig(
        hidden_size=width,
        num_hidden_layers=_blocks(released, "blocks"),
        num_attention_heads=heads,
        intermediate_size=released["blocks.0.mlp.fc1.weight"].shape[0],
        decoder_hidden_size=decoder_width,
        decoder_num_hidden_layers=_blocks(released, "decoder_blocks"),
        decoder_num_attention_heads=decoder_heads,
        decoder_intermediate_size=released["decoder_blocks.0.mlp.fc1.weight"].shape[0],
        image_size=grid * patch,
        patch_size=patch,
        num_channels=channels,
        layer_norm_eps=RELEASED_EPSILON,
        norm_pix_loss=norm_pix_loss,
    )


def _load_released(path: Path, settings: MaeSettings) -> tuple[ViTMAEForPreTraining, dict[str, Any]]:
    weights = read_weights(path, settings.entry)
    released = weights.tensors
    if "patch_embed.proj.weight" not in released:
        raise InputError(
            f"{path} is not a masked autoencoder in the released layout: no tensor 'patch_embed.proj.weight'"
        )
    if not any(str(name).startswith("decoder_") for name in released):
        raise InputError(
            f"{path} holds an encoder without its decoder, as the released fine-tuning files do "
            "(mae_pretrain_vit_*.pth). Nothing can be restored with it; the full pre-training checkpoint is "
            "needed (mae_visualize_vit_*.pth, or mae_pretrain_vit_*_full.pth)"
        )
    if missing := [name for name in SIZES_READ_OFF if name not in released]:
        raise InputError(f"{path} is incomplete: no tensor {', '.join(missing)}")
    if odd := [name for name, tensor in released.items() if not tensor.is_floating_point()]:
        raise InputError(f"{path} holds whole numbers where weights must be: {several(odd)}")
    said = weights.argument("norm_pix_loss")
    norm_pix_loss = settings.norm_pix_loss if settings.norm_pix_loss is not None else bool(said)
    config = configuration(released, settings, norm_pix_loss)
    _check_architecture(config)
    network = _filled(config, converted(released), str(path))
    origin = {
        "kind": "released",
        **weights.facts,
        "sha256": sha256_of_file(path),
        "norm_pix_loss": "settings"
        if settings.norm_pix_loss is not None
        else "file"
        if said is not None
        else "assumed",
    }
    return network, origin


def _load_transformers(settings: MaeSettings) -> tuple[ViTMAEForPreTraining, dict[str, Any]]:
    with reading(settings.path):
        config = ViTMAEConfig.from_pretrained(source_of(settings.path), revision=settings.revision or "main")
        _check_architecture(config)
    network = pretrained(
        ViTMAEForPreTraining,
        settings.path,
        settings.revision,
        settings.variant,
        fit=_check_complete,
        config=config,
        dtype=torch.float32,
    )
    if settings.norm_pix_loss is not None:
        network.config.norm_pix_loss = settings.norm_pix_loss
    origin = {
        "kind": "transformers",
        **hub_facts(settings.path, getattr(network.config, "_commit_hash", None)),
        **stored_facts(settings.path, settings.variant),
        "norm_pix_loss": "settings" if settings.norm_pix_loss is not None else "file",
    }
    return network, origin


def _renamed(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    simple = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "mask_token": "decoder.mask_token",
        "decoder_pos_embed": "decoder.decoder_pos_embed",
        "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
        "norm.weight": "vit.layernorm.weight",
        "norm.bias": "vit.layernorm.bias",
    }
    if name in simple:
        return [(simple[name], tensor)]
    for released, stored in (
        ("blocks.", "vit.encoder.layer."),
        ("decoder_blocks.", "decoder.decoder_layers."),
    ):
        if name.startswith(released):
            number, part = name.removeprefix(released).split(".", 1)
            return [(f"{stored}{number}.{new}", value) for new, value in _renamed_in_block(part, tensor)]
    return [(f"decoder.{name}", tensor)]


def _renamed_in_block(part: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    module, kind = part.rsplit(".", 1)
    if module == "attn.qkv":
        names = ("query", "key", "value")
        return [
            (f"attention.attention.{name}.{kind}", piece.clone())
            for name, piece in zip(names, tensor.chunk(3), strict=True)
        ]
    stored = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    return [(f"{stored.get(module, module)}.{kind}", tensor)]


def _filled(config: ViTMAEConfig, weights: dict[str, Tensor], where: str) -> ViTMAEForPreTraining:
    # with output_loading_info the library returns a pair, which its annotations do not say
    library: Any = ViTMAEForPreTraining
    with quiet():
        network, report = library.from_pretrained(
            None, config=config, state_dict=weights, output_loading_info=True, ignore_mismatched_sizes=True
        )
    _check_complete(where, report["missing_keys"], report["unexpected_keys"], report["mismatched_keys"])
    filled: ViTMAEForPreTraining = network
    return filled


def _check_complete(where: str, missing: Collection[str], *others: Any) -> None:
    if len(missing) > SHOWN_TENSORS and all(name.startswith("decoder.") for name in missing):
        raise InputError(
            f"{where} holds an encoder without its decoder: nothing can be restored with it; the full "
            "pre-training checkpoint is needed"
        )
    check_fit(where, list(missing), *others)


def _check_architecture(config: ViTMAEConfig) -> None:
    """Refuse what is not square, and neither RGB nor grey; a side written as a pair of equal numbers becomes one."""
    with Faults("this masked autoencoder cannot be used") as faults:
        sides = {}
        for name in ("image_size", "patch_size"):
            value = getattr(config, name)
            lengths = {value} if isinstance(value, int) else set(value)
            if len(lengths) != 1:
                faults.add(f"{name} is {tuple(value)}: only square images and patches are supported")
            sides[name] = max(lengths)
            setattr(config, name, sides[name])
        if sides["image_size"] % sides["patch_size"]:
            faults.add("image_size {image_size} is no multiple of patch_size {patch_size}".format(**sides))
        if config.num_channels not in (1, 3):
            faults.add(
                f"it takes {config.num_channels} channels: images have three, or one for a grey network, "
                "and none for depth or transparency"
            )


def _preprocessor(settings: MaeSettings) -> dict[str, Any]:
    path = beside(settings.path, settings.revision, "preprocessor_config.json")
    if path is None:
        return {}
    values = read_object(path)
    if values.get("do_normalize") is False:
        return {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    try:
        return {
            key: _three(values[key]) for key in ("image_mean", "image_std") if values.get(key) is not None
        }
    except (ValueError, TypeError):
        raise InputError(
            f"{path} is not usable: image_mean and image_std must be one number or three each"
        ) from None


def _three(value: Any) -> tuple[float, ...]:
    numbers = [float(number) for number in (value if isinstance(value, list) else [value])]
    if len(numbers) not in (1, 3):
        raise ValueError(f"{len(numbers)} numbers for 3 channels")
    return tuple(numbers * (3 // len(numbers)))


def _blocks(released: dict[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in released if name.startswith(prefix + "."))
