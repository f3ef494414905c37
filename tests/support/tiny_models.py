"""The tiny models of `efface.testing`, and a training job small enough for one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.generators.mae.generator import MaeGenerator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.testing.models import GRID, PATCH, SHAPE, SIZE, changed, draws, pictures, weights_of
from efface.testing.models import tiny_generator as tiny
from efface.training.data import Data, pixel_moments
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Phase
from efface.training.settings import TrainingSettings

__all__ = [
    "GRID", "PATCH", "SHAPE", "SIZE", "changed", "draws", "pictures", "save_pictures", "settings", "tiny", "trainer",
    "training_data", "view", "weights_of",
]  # fmt: skip
SETTINGS: dict[str, Any] = {
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "checkpoint_every": 3,
    "log_every": 1,
    "threads": 1,
    "corruption": "centre:0.5",
}


def view(
    generator: MaeGenerator, images: Tensor, corruption: str = "centre:0.5", seed: int = 0, first: int = 0
) -> Any:
    return generator.view(images, parse_corruption(corruption), draws(len(images), seed, first=first))


def save_pictures(folder: Path, count: int, seed: int) -> ImageSet:
    """`count` different PNG files in `folder`, as an image set."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures(count, seed, size=40)):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number:02d}.png")
    return open_images(folder)


def training_data(folder: Path, retain: int = 7, forget: int = 5) -> Data:
    """Retain and forget sets of made pictures, cached below `folder`."""
    sets = {
        "retain": save_pictures(folder / "retain", retain, seed=1),
        "forget": save_pictures(folder / "forget", forget, seed=2),
    }
    cache = PixelCache(folder / "cache", SIZE)
    for images in sets.values():
        cache.add(images)
    return Data(sets, cache, pixel_moments(sets["forget"], cache))


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
