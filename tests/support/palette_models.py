"""Tiny pixel diffusion models, their settings, and the release's way to write them down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from efface.generators.palette.checkpoint import load, new
from efface.generators.palette.family import PaletteArchitecture, PaletteSettings
from efface.generators.palette.generator import PaletteGenerator
from efface.generators.palette.released import released_names
from efface.generators.palette.schedule import NoiseSchedule

SIDE = 16
SHAPE: dict[str, Any] = {
    "image_size": SIDE,
    "inner_channels": 32,
    "channel_multipliers": (1, 2),
    "blocks_per_level": 1,
    "attention_levels": (1,),
    "channels_per_head": 32,
}
PIPELINE: dict[str, Any] = {
    "sample_size": SIDE,
    "in_channels": 6,
    "out_channels": 3,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}


def settings(path: Path | str, **options: Any) -> PaletteSettings:
    return PaletteSettings(path=str(path), **{"image_size": SIDE, **options})


def opened(path: Path | str, **options: Any) -> PaletteGenerator:
    return load(settings(path, **options))


def palette(seed: int = 0, **changes: Any) -> PaletteGenerator:
    """A tiny model whose weights are all random: a fresh one predicts zeros."""
    generator = new(PaletteArchitecture(**{**SHAPE, **changes}), seed)
    return stirred(generator, seed)


def unet2d(seed: int = 0, **changes: Any) -> UNet2DModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**{**PIPELINE, **changes}).eval()


def stirred(generator: PaletteGenerator, seed: int) -> PaletteGenerator:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.05)
    return generator.eval()


def released(generator: PaletteGenerator, schedule: NoiseSchedule | None = None) -> dict[str, Tensor]:
    """The model as Palette's training code saves it, the noise schedule's buffers beside the network."""
    tensors = released_tensors(generator.network)
    gammas = torch.from_numpy((schedule or generator.schedules.train).gammas()).float()
    for name in ("sqrt_recip_gammas", "posterior_mean_coef1", "posterior_mean_coef2"):
        tensors[name] = torch.zeros_like(gammas)
    return {"gammas": gammas, **tensors}


def released_tensors(network: Any, names: dict[str, list[str]] | None = None) -> dict[str, Tensor]:
    """A network's weights as the release names and shapes them, each head's query, key and value one behind the other."""
    weights, head = network.state_dict(), network.config["attention_head_dim"]
    tensors = {}
    for name, parts in (names or released_names(network)).items():
        together = [weights[part] for part in parts]
        if len(parts) > 1:
            together = [
                torch.stack([part.unflatten(0, (-1, head)) for part in together], dim=1).flatten(0, 2)
            ]
        if name.endswith(("qkv.weight", "proj_out.weight")):
            together = [together[0].unsqueeze(-1)]
        tensors[f"denoise_fn.{name}"] = together[0].clone()
    return tensors


def save_released(generator: PaletteGenerator, path: Path) -> Path:
    torch.save(released(generator), path)
    return path
