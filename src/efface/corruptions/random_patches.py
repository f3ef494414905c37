"""`random:0.75` hides a random share of the model's patches, as masked autoencoders are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, number, read_fractions, rounded_down, rounded_up


@dataclass(frozen=True)
class RandomPatches(Hole):
    """`ratio` of the patches hidden, drawn anew for every image and visit.

    The number of visible patches is `int(N * (1 - ratio))`, the count of He et al. 2022.
    """

    ratio: float = 0.75

    name: ClassVar[str] = "random"
    usage: ClassVar[str] = "random:0.75"
    summary: ClassVar[str] = "a random share of the model's patches hidden, the MAE's own training mask"
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(*read_fractions(cls.name, arguments or "0.75", ["the share of hidden patches"], cls.usage))

    def __str__(self) -> str:
        return f"random:{number(self.ratio)}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        count = grid * grid
        patches = np.ones(count, dtype=bool)
        # the small addend keeps 10 * (1 - 0.9) at 1 visible patch in spite of rounding
        patches[draws.permutation(count)[: int(count * (1 - self.ratio) + 1e-6)]] = False
        patch = size // grid
        return patches.reshape(grid, grid).repeat(patch, axis=0).repeat(patch, axis=1)

    def valid_range(self, size: int, grid: int) -> str:
        count = grid * grid
        return f"random:R with R from {rounded_up(1 / count)} to {rounded_down(1 - 1 / count)}"
