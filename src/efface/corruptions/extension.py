"""`extend-up:0.25` and its three sisters: one side is hidden and must be drawn on from the rest."""

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
class Extension(Hole):
    """A hidden strip along one side, `fraction` of the side wide."""

    fraction: float

    summary: ClassVar[str] = "one side hidden, to be extended from the rest"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(*read_fractions(cls.name, arguments or "0.25", ["the width of the strip"], cls.usage))

    def __str__(self) -> str:
        return f"{self.name}:{number(self.fraction)}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        mask = np.zeros((size, size), dtype=bool)
        mask[: pixels(self.fraction, size)] = True
        return np.rot90(mask, self.quarter_turns).copy()

    # how often the strip at the top is turned, counter-clockwise
    quarter_turns: ClassVar[int] = 0

    def valid_range(self, size: int, grid: int) -> str:
        return f"{self.name}:F with F from {rounded_up(1 / size)} to {rounded_down(1 - 1 / grid)}"


class ExtendUp(Extension):
    name = "extend-up"
    usage = "extend-up:0.25"


class ExtendLeft(Extension):
    name = "extend-left"
    usage = "extend-left:0.25"
    quarter_turns = 1


class ExtendDown(Extension):
    name = "extend-down"
    usage = "extend-down:0.25"
    quarter_turns = 2


class ExtendRight(Extension):
    name = "extend-right"
    usage = "extend-right:0.25"
    quarter_turns = 3
