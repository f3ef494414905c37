"""A tiny masked autoencoder, made pictures, and a training job small enough for one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.generators.mae.generator import MaeGenerator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.randomness import Draws
from efface.training.data import Data, pixel_moments
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Phase
from efface.training.settings import TrainingSettings

SIZE, PATCH, GRID = 32, 8, 4
SHAPE = {
    "image_size": SIZE,
    "patch_size": PATCH,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
    "layer_norm_eps": 1e-6,
}
SETTINGS: dict[str, Any] = {
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "checkpoint_every": 3,
    "log_every": 1,
    "threads": 1,
}


def tiny(seed: int = 0, **changes: Any) -> MaeGenerator:
    """An untrained masked autoencoder of 4 x 4 patches of 8 px, in evaluation mode."""
    return MaeGenerator.new(seed, **{**SHAPE, **changes}).eval()


def pictures(count: int, seed: int = 0, size: int = SIZE) -> Tensor:
    """Smooth random colour pictures `[count, 3, size, size]` in [0, 1]."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def draws(count: int, seed: int = 0, visit: int = 0, first: int = 0) -> Draws:
    """Draws of the images `image first`, `image first + 1`, ..."""
    return Draws(seed, tuple(f"image {first + number}" for number in range(count)), (visit,) * count)


def view(
    generator: MaeGenerator, images: Tensor, corruption: str = "centre:0.5", seed: int = 0, first: int = 0
) -> Any:
    return generator.view(images, parse_corruption(corruption), draws(len(images), seed, first=first))


def weights_of(generator: MaeGenerator) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: tensor.clone() for name, tensor in generator.network.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are not bit for bit the same."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def save_pictures(folder: Path, count: int, seed: int) -> ImageSet:
    """`count` different PNG files in `folder`, as an image set."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures(count, seed, size=40)):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number:02d}.png")
    return open_images(folder)


def training_data(folder: Path, corruption: str = "centre:0.5", retain: int = 7, forget: int = 5) -> Data:
    """Retain and forget sets of made pictures, cached below `folder`."""
    sets = {
        "retain": save_pictures(folder / "retain", retain, seed=1),
        "forget": save_pictures(folder / "forget", forget, seed=2),
    }
    cache = PixelCache(folder / "cache", SIZE)
    for images in sets.values():
        cache.add(images)
    return Data(sets, cache, parse_corruption(corruption), pixel_moments(sets["forget"], cache))


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS, **changes})


def trainer(
    generator: MaeGenerator,
    phases: list[Phase],
    data: Data,
    seed: int = 0,
    *,
    asked: TrainingSettings | None = None,
    process: Accelerator | None = None,
    **options: Any,
) -> Trainer:
    chosen = asked or settings()
    return Trainer(generator, phases, data, chosen, seed, process or accelerator(chosen), **options)
