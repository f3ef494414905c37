"""A masked autoencoder that has moved away from its teacher, and one batch for a method's loss."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from efface.generators.base import PixelMoments
from efface.generators.mae.generator import MaeGenerator
from efface.methods import read_method
from efface.methods.base import OneLossMethod
from efface.training.phases import Batch
from support.tiny_models import GRID, SIZE, draws, pictures, tiny, view

RETAIN, FORGET = 3, 2
MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
HOLE = torch.zeros(GRID, GRID, dtype=torch.bool)
HOLE[1:3, 1:3] = True


class Case:
    """A student that has moved away from its teacher, and one batch."""

    def __init__(self, retain: int = RETAIN, forget: int = FORGET) -> None:
        self.generator = tiny()
        self._move(0.2)  # fresh weights are so small that all images get nearly the same output
        self.original = copy.deepcopy(self.generator.network)
        self.generator.keep_teacher("all")
        self._move(0.05)
        self.retain, self.forget = pictures(retain, seed=1), pictures(forget, seed=2)
        views = {
            "retain": view(self.generator, self.retain),
            "forget": view(self.generator, self.forget, first=100),
        }
        self.batch = Batch(views, MOMENTS)

    def _move(self, distance: float) -> None:
        rng = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.generator.trained_parameters("all").values():
                parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=distance)

    def loss(self, name: str, **chosen: Any) -> Any:
        method = read_method({"name": name, **chosen})
        assert isinstance(method, OneLossMethod)
        return method.loss(self.generator, self.batch)

    def noise(self, kind: str) -> Tensor:
        """The noise that the teacher is fed, from the definition."""
        keyed = draws(len(self.forget), first=100)
        moments = self.batch.moments_for(kind)  # type: ignore[arg-type]
        mean, std = (value.view(1, 3, 1, 1) for value in (moments.mean, moments.std))
        normal = keyed.normal("noise", (3, SIZE, SIZE), "cpu")
        if kind == "standard-normal":
            return normal
        pixels = {
            "moment-matched": (normal * std + mean).clamp(0, 1),
            "batch-matched": (normal * std + mean).clamp(0, 1),
            "uniform": keyed.uniform("noise", (3, SIZE, SIZE), "cpu"),
            "constant": mean.expand_as(normal),
        }
        return fed(self.generator, pixels[kind])


def fed(generator: MaeGenerator, pixels: Tensor) -> Tensor:
    return (pixels - generator.mean) / generator.std
