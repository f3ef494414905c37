"""`outpaint:0.5` keeps a square in the middle and hides the border around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import (
    Hole,
    Mask,
    number,
    pixels,
    read_fractions,
    rounded_down,
    rounded_up,
)


@dataclass(frozen=True)
class Outpainting(Hole):
    """The border is hidden; the centre, `kept` of the side, is seen."""

    kept: float = 0.5

    name: ClassVar[str] = "outpaint"
    usage: ClassVar[str] = "outpaint:0.5"
    summary: ClassVar[str] = "the border hidden, a centre square of the given side kept"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(*read_fractions(cls.name, arguments or "0.5", ["the side that is kept"], cls.usage))

    def __str__(self) -> str:
        return f"outpaint:{number(self.kept)}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        length = pixels(self.kept, size)
        first = (size - length) // 2
        mask = np.ones((size, size), dtype=bool)
        mask[first : first + length, first : first + length] = False
        return mask

    def valid_range(self, size: int, grid: int) -> str:
        largest = rounded_down(1 - 1 / size)
        # the kept square must hold a whole patch: the middle one, or those that meet in the middle
        smallest = rounded_up((1 if grid % 2 else 2) / grid) if grid > 2 else largest
        return f"outpaint:F with F from {smallest} to {largest}"
