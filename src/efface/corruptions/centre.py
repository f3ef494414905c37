"""`centre:0.5` hides a square in the middle: the centre crop-out of the ICLR 2024 evaluation.

The paper speaks of 4 x 4 and 8 x 8 blocks of a 16 x 16 grid, that is `centre:0.25` and `centre:0.5`.
"""

from __future__ import annotations

import re
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
from efface.errors import InputError


@dataclass(frozen=True)
class Centre(Hole):
    """A square hole: `fraction` of the side, or `blocks` x `blocks` patches of the model's grid.

    A block count of other parity than the grid cannot lie in the middle; the hole then lies half a
    patch towards the top left.
    """

    fraction: float | None = 0.5
    blocks: int | None = None

    name: ClassVar[str] = "centre"
    usage: ClassVar[str] = "centre:0.5 or centre:8x8b"
    summary: ClassVar[str] = "a square hole in the middle, by fraction of the side or by patches"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if match := re.fullmatch(r"(\d+)x(\d+)b", arguments.strip()):
            if match[1] != match[2]:
                raise InputError(
                    f"corruption 'centre:{arguments}': the hole is square, for example centre:8x8b"
                )
            return cls(fraction=None, blocks=int(match[1]))
        (fraction,) = read_fractions(cls.name, arguments or "0.5", ["the side of the hole"], cls.usage)
        return cls(fraction=fraction)

    def __str__(self) -> str:
        return (
            f"centre:{self.blocks}x{self.blocks}b"
            if self.blocks is not None
            else f"centre:{number(self.side)}"
        )

    @property
    def side(self) -> float:
        return 0.5 if self.fraction is None else self.fraction

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        if self.blocks is not None:
            patch = size // grid
            first, length = (grid - self.blocks) // 2 * patch, self.blocks * patch
        else:
            length = pixels(self.side, size)
            first = (size - length) // 2
        mask = np.zeros((size, size), dtype=bool)
        first = max(first, 0)
        mask[first : first + length, first : first + length] = True
        return mask

    def valid_range(self, size: int, grid: int) -> str:
        blocks = f"centre:KxKb with K from 1 to {grid - 1}"
        if grid < 3:
            return blocks
        return f"centre:F with F from {rounded_up(1 / size)} to {rounded_down(1 - 2 / grid)}, or {blocks}"
