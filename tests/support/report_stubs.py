"""A generator and a pixel cache of nothing but arithmetic, for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.items import ImageItem, ImageSet
from efface.randomness import Draws

SIDE = 16


class GreyFill:
    """Fills the hole with one grey; remembers which images it was shown."""

    image_size = SIDE
    device = torch.device("cpu")

    def __init__(self, grey: float) -> None:
        self.grey = grey
        self.seen: list[str] = []
        self.training = True

    def eval(self) -> GreyFill:
        self.training = False
        return self

    def view(self, images: Tensor, corruption: Corruption, draws: Draws, **_: Any) -> Any:
        self.seen += draws.ids
        pixels = images.float() / 255
        return SimpleNamespace(images=pixels, corrupted=corruption.apply(pixels, 4, draws))

    def restore(self, view: Any, sampler: str | None = None) -> Tensor:
        assert torch.is_inference_mode_enabled()
        return view.images.masked_fill(view.corrupted.region, self.grey)


class Pixels:
    """Stands in for the pixel cache: one plain colour for each image."""

    def __init__(self, colours: Mapping[str, int]) -> None:
        self.colours = colours

    def read(self, image_id: str) -> np.ndarray:
        return np.full((SIDE, SIDE, 3), self.colours[image_id], np.uint8)


class Nowhere:
    where = "nowhere"

    def read_bytes(self) -> bytes:
        raise OSError


def some_images(count: int, first: int = 0) -> ImageSet:
    return ImageSet(
        ImageItem(f"{number:064x}", str(Path("secret") / f"{number}.png"), None, Nowhere())
        for number in range(first, first + count)
    )


def as_generator(stub: GreyFill) -> Generator:
    return cast(Generator, stub)


def as_cache(images: ImageSet) -> PixelCache:
    return cast(PixelCache, Pixels({id_: 20 * number for number, id_ in enumerate(images.ids)}))
