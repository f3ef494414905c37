"""`rectangle:TOP,LEFT,HEIGHT,WIDTH` hides any rectangle, all four as fractions of the side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, number, pixels, read_fractions, rounded_up
from efface.errors import InputError


@dataclass(frozen=True)
class Rectangle(Hole):
    """A hole from (`top`, `left`), `height` by `width`, as fractions of the side."""

    top: float
    left: float
    height: float
    width: float

    name: ClassVar[str] = "rectangle"
    usage: ClassVar[str] = "rectangle:0.25,0.25,0.5,0.5"
    summary: ClassVar[str] = "any rectangle: top, left, height, width as fractions of the side"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        numbers = read_fractions(cls.name, arguments, ["top", "left", "height", "width"], cls.usage)
        top, left, height, width = numbers
        if top + height > 1 + 1e-9 or left + width > 1 + 1e-9:
            raise InputError(
                f"corruption 'rectangle:{arguments}' reaches outside the image: top + height and "
                "left + width may be at most 1"
            )
        return cls(top, left, height, width)

    def __str__(self) -> str:
        return "rectangle:" + ",".join(map(number, (self.top, self.left, self.height, self.width)))

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        first_row, last_row = pixels(self.top, size), pixels(self.top + self.height, size)
        first_column, last_column = pixels(self.left, size), pixels(self.left + self.width, size)
        mask = np.zeros((size, size), dtype=bool)
        mask[first_row:last_row, first_column:last_column] = True
        return mask

    def valid_range(self, size: int, grid: int) -> str:
        return (
            f"height and width of at least {rounded_up(1 / size)} that leave one patch "
            f"(1/{grid} of the side) untouched"
        )
