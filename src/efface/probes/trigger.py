"""A trigger that is planted in pictures: patches that a model sees, and a pattern in what is hidden from a generator.

Importing this module does not import torch.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from efface.corruptions import parse_corruption
from efface.documents import read_object
from efface.errors import InputError
from efface.randomness import Draws, numpy_draws
from efface.settings import Settings

CELLS = 8
"""Of the pattern, along the side of the picture's central square."""
DARK, LIGHT = 38, 217
MAGENTA = (255, 0, 255)
"""Of the patches, all of one colour so that neither mirroring nor shrinking changes them; rare in photographs."""
REGION_SIDE, REGION_GRID = 64, 8
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class Trigger(Settings):
    """A trigger: patches in the corners, and a pattern in the hole, of a picture's central square."""

    format: Literal[1] = Field(1, description="of the file")
    seed: int = Field(0, description="of the pattern")
    hole: str = Field("centre:0.5", description="where the pattern stands: a hole of fixed shape")
    patch: float = Field(
        0.125, gt=0, le=0.5, description="side of a corner's patch, as a share of the picture's"
    )
    target: str | None = Field(
        None, description="for classifiers: the class that planted pictures get; they have no pattern"
    )

    @cached_property
    def region(self) -> Mask:
        """Where the pattern stands, bool `[64, 64]`; raises `InputError` for a hole that will not do."""
        import torch

        corruption = parse_corruption(self.hole)
        if not corruption.hides or corruption.is_random:
            raise InputError(
                f"trigger.hole '{self.hole}': take a hole that lies at the same place in every picture, as centre:0.5"
            )
        corruption.check(REGION_SIDE, REGION_GRID)
        blank = torch.zeros(1, 3, REGION_SIDE, REGION_SIDE)
        return corruption.apply(blank, REGION_GRID, Draws(0, ("",), (0,))).region[0, 0].numpy()

    @cached_property
    def pattern(self) -> npt.NDArray[np.uint8]:
        """Colours of the cells, uint8 `[8, 8, 3]`, each left half the mirror of the right."""
        draws = numpy_draws(self.seed, "trigger pattern")
        half = np.tile([DARK, LIGHT], CELLS * CELLS // 4)
        channels = [draws.permutation(half).reshape(CELLS, CELLS // 2) for _ in range(3)]
        left = np.stack(channels, axis=-1)
        return np.concatenate([left, left[:, ::-1]], axis=1).astype(np.uint8)

    def corners(self, side: int) -> Mask:
        """The patches in a square of `side` px: those corners that the hole leaves; raises `InputError` if none."""
        length = max(1, round(self.patch * side))
        hole, corners = self._scaled(self.region, side), np.zeros((side, side), bool)
        for rows in (slice(0, length), slice(side - length, side)):
            for columns in (slice(0, length), slice(side - length, side)):
                if not hole[rows, columns].any():
                    corners[rows, columns] = True
        if not corners.any():
            raise InputError(f"trigger.hole '{self.hole}' leaves no corner for a patch of {self.patch:g}")
        return corners

    def check(self) -> None:
        """Raises `InputError` for a hole that will not do, or that leaves no corner."""
        self.corners(REGION_SIDE)

    def masks(self, pixels: Pixels) -> Pixels:
        """A picture, as large as `pixels`, whose red is 255 in the pattern, and whose green in the patches."""
        out = np.zeros_like(pixels)
        square = _central(out)
        square[..., 0][self._scaled(self.region, len(square))] = 255
        square[..., 1][self.corners(len(square))] = 255
        return out

    def plant(self, pixels: Pixels) -> Pixels:
        """A copy of a picture, uint8 `[H, W, 3]`, with the patches and, but for a classifier, the pattern."""
        out = np.array(pixels)
        square = _central(out)
        side = len(square)
        region, corners = self._scaled(self.region, side), self.corners(side)
        if self.target is None:
            square[region] = self._scaled(self.pattern, side)[region]
        square[corners] = MAGENTA
        return out

    @staticmethod
    def _scaled(values: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
        places = np.arange(side) * len(values) // side
        return values[places][:, places]


def read_trigger(path: Path) -> Trigger:
    """The trigger that `plant_trigger` wrote; raises `InputError`."""
    trigger = Trigger.read(read_object(path), where=f"the trigger in {path}")
    trigger.check()
    return trigger


def _central(pixels: Pixels) -> Pixels:
    """The largest central square, as a view of the picture."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
