"""Holes drawn anew for every image and visit: `box` (a rectangle), `brush` (strokes), and `box-brush`, both together.

The last is the training mask of the ICLR 2024 paper's diffusion model: at 256 px a box of at most 128 px, up to 40 px
less, at least 20 px from the border, joined with free-form strokes. Deviations: the sides of the box are uniform in
that range, each for itself; the strokes are those of `strokes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, fraction, number, pixels, rounded_down, rounded_up
from efface.corruptions.strokes import MOST_SHARE, brushed
from efface.errors import InputError

LEAST, MOST, MARGIN = 88 / 256, 128 / 256, 20 / 256


@dataclass(frozen=True)
class Brush(Hole):
    """Strokes that hide between `least` and `most` of the pixels, drawn anew for every image and visit.

    The share is uniform between the two. See `strokes` for the law of the strokes and its source.
    """

    least: float = fraction("the least hidden share", 0.2)
    most: float = fraction("the most hidden share", 0.4)

    name: ClassVar[str] = "brush"
    usage: ClassVar[str] = "brush:0.2,0.4"
    summary: ClassVar[str] = "random brush strokes hidden: the least and the most share of pixels"
    of: ClassVar[str] = "pixels"
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        brush = super().parse(arguments)
        if brush.least > brush.most:
            raise InputError(f"corruption 'brush:{arguments}': the least share is above the most")
        return brush

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        return brushed(size, grid, float(draws.uniform(self.least, self.most)), draws)

    def check(self, size: int, grid: int) -> None:
        hint = f"valid on this model ({size} px, {grid} x {grid} patches): {self.valid_range(size, grid)}"
        if self.least * size * size < 1:
            raise InputError(f"corruption '{self}' may hide no pixel; {hint}")
        if self.most > _most_brushed(grid) + 1e-9:
            raise InputError(f"corruption '{self}' may leave no visible patch; {hint}")

    def valid_range(self, size: int, grid: int) -> str:
        least, most = rounded_up(1 / size**2), rounded_down(_most_brushed(grid))
        return f"brush:L,M with L from {least} to M and M at most {most}"


@dataclass(frozen=True)
class Box(Hole):
    """A rectangle with both sides uniform between `least` and `most` of the image's side.

    It lies anywhere that is at least `margin` away from the border, drawn anew for every image and visit.
    """

    least: float = fraction("the least side", LEAST)
    most: float = fraction("the most side", MOST)
    margin: float = fraction("the margin", MARGIN)

    name: ClassVar[str] = "box"
    usage: ClassVar[str] = "box:0.25,0.5"
    summary: ClassVar[str] = "a random rectangle hidden: least and most side, and the margin if wanted"
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if arguments.count(",") == 1:
            arguments += f",{number(MARGIN)}"
        box = super().parse(arguments)
        if box.least > box.most:
            raise InputError(f"corruption 'box:{arguments}': the least side is above the most")
        if box.most + 2 * box.margin > 1 + 1e-9:
            raise InputError(
                f"corruption 'box:{arguments}' does not fit: the most side and the margin on both sides may "
                f"be at most 1 together; give a margin as third number (it is {number(box.margin)})"
            )
        return box

    def __str__(self) -> str:
        return super().__str__().removesuffix(f",{number(MARGIN)}")

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        mask = np.zeros((size, size), dtype=bool)
        margin = min(pixels(self.margin, size), (size - 1) // 2)
        sides, places = draws.uniform(self.least, self.most, 2), draws.random(2)
        spans = []
        for side, place in zip(sides.tolist(), places.tolist(), strict=True):
            length = min(max(1, pixels(side, size)), size - 2 * margin)
            first = margin + int(place * (size - 2 * margin - length + 1))
            spans.append(slice(first, first + length))
        mask[spans[0], spans[1]] = True
        return mask

    def check(self, size: int, grid: int) -> None:
        hint = f"valid on this model ({size} px, {grid} x {grid} patches): {self.valid_range(size, grid)}"
        if pixels(self.least, size) < 1:
            raise InputError(f"corruption '{self}' may hide no pixel; {hint}")
        patch = size // grid
        if pixels(self.margin, size) < patch and pixels(self.most, size) > _longest(size, grid):
            raise InputError(f"corruption '{self}' may leave no visible patch; {hint}")

    def valid_range(self, size: int, grid: int) -> str:
        least, ways = rounded_up(1 / size), []
        if (most := min(_longest(size, grid) / size, 1 - 2 * MARGIN)) > 0:
            ways.append(f"box:L,M with L from {least} to M and M at most {rounded_down(most)}")
        if grid > 2:
            margin = rounded_up(1 / grid)
            ways.append(f"box:L,M,{margin} with M at most {rounded_down(1 - 2 * float(margin))}")
        return ", or ".join(ways) or "none"


@dataclass(frozen=True)
class BoxBrush(Hole):
    """A random rectangle joined with brush strokes."""

    box: Box = field(default_factory=Box)
    brush: Brush = field(default_factory=lambda: Brush(0.05, 0.25))

    name: ClassVar[str] = "box-brush"
    usage: ClassVar[str] = "box-brush or box-brush:0.25,0.5,0.1,0.3"
    summary: ClassVar[str] = (
        "a random rectangle and brush strokes hidden, as the paper trains its diffusion model"
    )
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if not arguments:
            return cls()
        names = ["least and most side of the box", "least and most share of the strokes"]
        parts = arguments.split(",")
        if len(parts) != 4:
            raise InputError(
                f"corruption 'box-brush:{arguments}': give {', '.join(names)}, for example {cls.usage}"
            )
        return cls(Box.parse(",".join(parts[:2])), Brush.parse(",".join(parts[2:])))

    def __str__(self) -> str:
        numbers = (self.box.least, self.box.most, self.brush.least, self.brush.most)
        return "box-brush" if self == BoxBrush() else f"box-brush:{','.join(map(number, numbers))}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        box = self.box.hidden(size, grid, draws)
        share = float(draws.uniform(self.brush.least, self.brush.most))
        return box | brushed(size, grid, share, draws, under=box)

    def check(self, size: int, grid: int) -> None:
        self.box.check(size, grid)
        self.brush.check(size, grid)

    def valid_range(self, size: int, grid: int) -> str:
        return f"{self.box.valid_range(size, grid)}; {self.brush.valid_range(size, grid)}"


def _most_brushed(grid: int) -> float:
    """The largest share that strokes fill beside a free patch."""
    return MOST_SHARE * (1 - 1 / grid**2)


def _longest(size: int, grid: int) -> int:
    """The longest side in pixels that leaves a row of patches whole wherever the box lies."""
    return size - 2 * (size // grid) + 1
