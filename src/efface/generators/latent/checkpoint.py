"""Opening and making latent diffusion models: pipeline folders of diffusers, here or on the hub, low-rank factors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from efface.adapters import merge, read_adapter
from efface.documents import read_object
from efface.errors import InputError
from efface.files import sha256_of_file
from efface.generators.latent.factors import FILE
from efface.generators.latent.family import GROUPS, NAME, LatentArchitecture, LatentSettings
from efface.generators.latent.folder import INDEX, NETWORKS, Parts, patterns, read_parts
from efface.generators.latent.generator import LatentGenerator
from efface.generators.latent.network import UNET, VAE, LatentNetwork
from efface.generators.latent.pipeline import DELTA, SCHEDULE, USE, Delta, PipelineSettings, Use
from efface.generators.latent.risks import risks
from efface.generators.latent.single_file import read_single_file
from efface.hub import HUB, hub_name
from efface.model_formats import stored_form
from efface.weights import UNREADABLE, quiet, stored_facts, weights_digest, why_unreadable

__all__ = ["load", "new", "risks"]


@dataclass(frozen=True)
class Opened:
    """A model as it lies on disk, factors merged."""

    parts: Parts
    use: Use
    origin: dict[str, JsonValue]
    base: dict[str, JsonValue]


def load(settings: LatentSettings) -> LatentGenerator:
    """A latent diffusion model from wherever `settings` says; raises `InputError` naming all faults."""
    if settings.lora_alpha is not None and settings.lora_rank is None:
        raise InputError("model.lora_alpha is given without model.lora_rank")
    if settings.train_adapter and settings.lora_rank is not None:
        raise InputError("model.train_adapter trains the factors of the adapter: leave out model.lora_rank")
    opened = _opened(settings)
    parts, use = opened.parts, opened.use
    pipeline = PipelineSettings(
        scheduler=parts.scheduler,
        tokenizers=parts.tokenizers,
        zeros_for_none=parts.zeros_for_none,
        prompt=use.prompt if settings.prompt is None else settings.prompt,
        guidance_scale=settings.guidance_scale or use.guidance_scale,
        lora_rank=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        origin={**opened.origin, "left_out": [*parts.left_out]} if parts.left_out else opened.origin,
        base=opened.base or None,
        train_adapter=settings.train_adapter,
    )
    return LatentGenerator(parts.network, pipeline)


def new(architecture: LatentArchitecture, seed: int) -> LatentGenerator:
    """An untrained model without a text encoder; raises `InputError` naming what does not fit together."""
    if problems := architecture.faults():
        raise InputError(*problems, what="this latent diffusion model cannot be built")
    with quiet(), torch.random.fork_rng(devices=[]):
        network = _shaped(architecture).fresh(seed)
    schedule = {**SCHEDULE, "prediction_type": architecture.prediction_type}
    return LatentGenerator(network, PipelineSettings(schedule, origin={"kind": "new", "seed": seed}))


def _opened(settings: LatentSettings) -> Opened:
    folder = Path(settings.path)
    if folder.is_file():
        return _from_file(folder, settings)
    if not folder.is_dir():
        return _from_hub(settings)
    if not (folder / INDEX).exists() and (folder / DELTA).exists():
        return _from_delta(folder)
    base: dict[str, JsonValue] = {"base": str(folder.resolve()), "revision": None}
    return _from_folder(folder, settings.variant, {"kind": "diffusers"}, base)


def _from_file(file: Path, settings: LatentSettings) -> Opened:
    parts, weights = read_single_file(file, settings.entry, settings.text_tokenizer)
    origin: dict[str, JsonValue] = {"kind": "single file", **weights.facts, "sha256": sha256_of_file(file)}
    return Opened(parts, Use(), origin, {})


def _from_folder(
    folder: Path, variant: str | None, origin: dict[str, JsonValue], base: dict[str, JsonValue]
) -> Opened:
    parts = read_parts(folder, variant)
    origin |= stored_facts(str(folder), variant, NETWORKS)
    note = folder / USE
    use = Use.read(read_object(note), where=str(note)) if note.exists() else Use()
    return Opened(parts, use, origin, {**base, "base_weights": weights_digest(parts.network.state_dict())})


def _from_hub(settings: LatentSettings) -> Opened:
    from huggingface_hub import snapshot_download

    name, variant = hub_name(settings.path), settings.variant
    try:
        with quiet():
            wanted = [*patterns(variant), USE]
            folder = Path(snapshot_download(name, revision=settings.revision, allow_patterns=wanted))
            if stored_form(folder / "unet", variant) is None:
                wanted = [*patterns(variant, "bin"), USE]
                folder = Path(snapshot_download(name, revision=settings.revision, allow_patterns=wanted))
    except UNREADABLE as error:
        raise InputError(f"the model {HUB}{name} cannot be read: {why_unreadable(error)}") from None
    # a snapshot lies in a folder named by its commit
    origin: dict[str, JsonValue] = {"kind": "diffusers", "hub": name, "revision": folder.name}
    return _from_folder(folder, variant, origin, {"base": f"{HUB}{name}", "revision": folder.name})


def _from_delta(folder: Path) -> Opened:
    """The model that factors are for, with them added; raises `InputError` if it is no longer that model."""
    values = read_object(folder / DELTA)
    if values.get("efface_delta") != NAME:
        raise InputError(f"{folder} is no pipeline folder: it has no {INDEX}")
    delta = Delta.read(values, where=str(folder / DELTA))
    opened = _opened(LatentSettings(path=delta.base, revision=delta.revision))
    if opened.base["base_weights"] != delta.base_weights:
        raise InputError(
            f"the low-rank factors in {folder} are for a model whose weights are not those at {delta.base}: put "
            "that model back in its place"
        )
    network = opened.parts.network
    merge(read_adapter(str(folder / FILE)), {"unet": network.unet})
    base: dict[str, JsonValue] = {
        "base": str(folder.resolve()),
        "revision": None,
        "base_weights": weights_digest(network.state_dict()),
    }
    return Opened(opened.parts, delta.use, {**opened.origin, "low_rank_factors": True}, base)


def _shaped(architecture: LatentArchitecture) -> LatentNetwork:
    channels, depth = architecture.latent_channels, len(architecture.unet_channels) - 1
    unet = UNET(
        sample_size=architecture.latent_side,
        in_channels=2 * channels + (1 if architecture.kind == "inpainting" else 0),
        out_channels=channels,
        block_out_channels=architecture.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * depth + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * depth,
        layers_per_block=architecture.layers,
        # what diffusers calls so is the number of heads
        attention_head_dim=[width // architecture.head_dim for width in architecture.unet_channels],
        cross_attention_dim=architecture.unet_channels[0],
        norm_num_groups=GROUPS,
    )
    widths = architecture.vae_channels
    vae = VAE(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=channels,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=architecture.image_size,
        # the first stage's own loss keeps the latents' deviation near 1
        scaling_factor=1.0,
    )
    return LatentNetwork(unet, vae)
