"""Holes of fixed shape, made of rectangles: a square in the middle, a border around one, any rectangle, one side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, fraction, pixels, rounded_down, rounded_up
from efface.errors import InputError


@dataclass(frozen=True)
class Centre(Hole):
    """A square hole in the middle, the centre crop-out of the ICLR 2024 evaluation.

    `side` of the picture's, or `blocks` x `blocks` patches of the model's grid: the paper's 4 x 4 and 8 x 8 blocks of
    16 x 16 are a quarter and half of the side. A block count of other parity than the grid cannot lie in the middle;
    the hole then lies half a patch towards the top left.
    """

    side: float = fraction("the side of the hole", 0.5)
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
            return cls(blocks=int(match[1]))
        return super().parse(arguments)

    def __str__(self) -> str:
        return super().__str__() if self.blocks is None else f"centre:{self.blocks}x{self.blocks}b"

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


@dataclass(frozen=True)
class Outpainting(Hole):
    """The border is hidden; the centre, `kept` of the side, is seen."""

    kept: float = fraction("the side that is kept", 0.5)

    name: ClassVar[str] = "outpaint"
    usage: ClassVar[str] = "outpaint:0.5"
    summary: ClassVar[str] = "the border hidden, a centre square of the given side kept"

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


@dataclass(frozen=True)
class Rectangle(Hole):
    """A hole from (`top`, `left`), `height` by `width`, as fractions of the side."""

    top: float = fraction("top")
    left: float = fraction("left")
    height: float = fraction("height")
    width: float = fraction("width")

    name: ClassVar[str] = "rectangle"
    usage: ClassVar[str] = "rectangle:0.25,0.25,0.5,0.5"
    summary: ClassVar[str] = "any rectangle: top, left, height, width as fractions of the side"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        hole = super().parse(arguments)
        if hole.top + hole.height > 1 + 1e-9 or hole.left + hole.width > 1 + 1e-9:
            raise InputError(
                f"corruption 'rectangle:{arguments}' reaches outside the image: top + height and "
                "left + width may be at most 1"
            )
        return hole

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


@dataclass(frozen=True)
class Extension(Hole):
    """A hidden strip along one side, `width` of the side wide, to be drawn on from the rest."""

    width: float = fraction("the width of the strip", 0.25)

    summary: ClassVar[str] = "one side hidden, to be extended from the rest"
    quarter_turns: ClassVar[int] = 0
    """How often the strip at the top is turned, counter-clockwise."""

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        mask = np.zeros((size, size), dtype=bool)
        mask[: pixels(self.width, size)] = True
        return np.rot90(mask, self.quarter_turns).copy()

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
