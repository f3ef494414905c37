"""`brush:0.2,0.4` hides free-form brush strokes over a fifth to two fifths of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, number, read_fractions, rounded_down, rounded_up
from efface.corruptions.strokes import MOST_SHARE, brushed
from efface.errors import InputError


@dataclass(frozen=True)
class Brush(Hole):
    """Strokes that hide between `least` and `most` of the pixels, drawn anew for every image and visit.

    The share is uniform between the two. See `strokes` for the law of the strokes and its source.
    """

    least: float = 0.2
    most: float = 0.4

    name: ClassVar[str] = "brush"
    usage: ClassVar[str] = "brush:0.2,0.4"
    summary: ClassVar[str] = "random brush strokes hidden: the least and the most share of pixels"
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        names = ["the least hidden share", "the most hidden share"]
        least, most = read_fractions(cls.name, arguments or "0.2,0.4", names, cls.usage, of="pixels")
        if least > most:
            raise InputError(f"corruption 'brush:{arguments}': the least share is above the most")
        return cls(least, most)

    def __str__(self) -> str:
        return f"brush:{number(self.least)},{number(self.most)}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        return brushed(size, grid, float(draws.uniform(self.least, self.most)), draws)

    def check(self, size: int, grid: int) -> None:
        hint = f"valid on this model ({size} px, {grid} x {grid} patches): {self.valid_range(size, grid)}"
        if self.least * size * size < 1:
            raise InputError(f"corruption '{self}' may hide no pixel; {hint}")
        if self.most > _most(grid) + 1e-9:
            raise InputError(f"corruption '{self}' may leave no visible patch; {hint}")

    def valid_range(self, size: int, grid: int) -> str:
        least, most = rounded_up(1 / size**2), rounded_down(_most(grid))
        return f"brush:L,M with L from {least} to M and M at most {most}"


def _most(grid: int) -> float:
    """The largest share that strokes fill beside a free patch."""
    return MOST_SHARE * (1 - 1 / grid**2)
