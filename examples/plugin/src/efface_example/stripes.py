"""`stripes:4` hides every second of twice as many horizontal stripes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions import Hole
from efface.corruptions.base import Mask
from efface.errors import InputError


@dataclass(frozen=True)
class Stripes(Hole):
    """`count` hidden stripes over the whole width, as high as the visible ones above them."""

    count: int = 2

    name: ClassVar[str] = "stripes"
    usage: ClassVar[str] = "stripes:2"
    summary: ClassVar[str] = "horizontal stripes, as many hidden as visible"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if not (arguments or "2").isdecimal() or int(arguments or "2") < 1:
            raise InputError(
                f"corruption 'stripes:{arguments}': give a whole number of stripes, as in {cls.usage}"
            )
        return cls(int(arguments or "2"))

    def __str__(self) -> str:
        return f"{self.name}:{self.count}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        rows = np.arange(size) * 2 * self.count // size % 2 == 1
        return np.broadcast_to(rows[:, None], (size, size)).copy()

    def valid_range(self, size: int, grid: int) -> str:
        return f"stripes:N with N from 1 to {grid // 2}"
