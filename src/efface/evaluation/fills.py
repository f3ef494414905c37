"""What a hole can be filled with that needs no model: the mark that a model has to clear to be worth a study.

A model that restores no better than the mean of what is visible, or than the nearest visible pixels, has learnt
nothing that could be forgotten, and figures about its forgetting would be figures about noise.
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
"""By which share of a fill's error a model has to be better than it."""


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
