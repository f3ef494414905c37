"""What a hole can be filled with that needs no model: a yardstick for how well a model restores images that it never saw.

How well it restores says nothing of what it remembers: a model that knows its training images by heart and nothing else
is no better than a fill on others. Whether there is something to forget is told by original and retrained model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from efface.corruptions import Corruption
from efface.corruptions.base import mean_fill
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.metrics.image_error import hole_mse

CLEARLY = 0.2
"""By which share of a fill's error a model is called stronger than it."""


def nearest_fill(images: Tensor, known: Tensor) -> Tensor:
    """`images` `[B, 3, H, W]` with each hidden pixel in the colour of the nearest known one (Euclidean)."""
    filled = torch.empty_like(images)
    for place, (image, mask) in enumerate(zip(images, known[:, 0].cpu().numpy(), strict=True)):
        rows, columns = distance_transform_edt(~mask, return_distances=False, return_indices=True)
        filled[place] = image[:, torch.from_numpy(rows), torch.from_numpy(columns)]
    return filled


FILLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean_fill, "nearest": nearest_fill}


def fill_errors(
    images: ImageSet,
    cache: PixelSource,
    generator: Generator,
    corruption: Corruption,
    settings: EvaluationSettings,
) -> dict[str, float]:
    """The mean hole error of each fill over the evaluation's views of `images`, as `generator` is shown them."""
    errors: dict[str, list[Tensor]] = {name: [] for name in FILLS}
    for crops in view_batches(images, cache, generator.image_size, settings):
        pictures = crops.images.float() / 255
        seen = corruption.apply(pictures, generator.grid, crops.draws)
        for name, fill in FILLS.items():
            errors[name].append(hole_mse(fill(pictures, seen.known), pictures, seen.region))
    return {name: float(np.mean(torch.cat(values).double().numpy())) for name, values in errors.items()}
