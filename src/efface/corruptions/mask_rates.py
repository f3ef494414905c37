"""`mask-rates:0.5,1` hides a share of the model's patches that is itself drawn, as MAGE is trained.

Li et al., "MAGE: MAsked Generative Encoder" (CVPR 2023), section 3.1: the share comes from a normal distribution
with mean 0.55 and deviation 0.25, cut off at the least and the largest share. Deviations: it is drawn for every
image and visit (released: once for a batch), so that an image's mask does not depend on its neighbours; and one
patch always stays visible (released: all may be hidden, which a share above 255/256 does).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, number, read_fractions
from efface.errors import InputError

RATES = NormalDist(0.55, 0.25)


@dataclass(frozen=True)
class MaskRates(Hole):
    """Between `least` and `most` of the patches hidden, the share and the places drawn for every image and visit.

    A model that can leave tokens out of its encoder's input leaves out `dropped(count)` of the hidden ones.
    """

    least: float = 0.5
    most: float = 1.0

    name: ClassVar[str] = "mask-rates"
    usage: ClassVar[str] = "mask-rates:0.5,1"
    summary: ClassVar[str] = (
        "a random share of the model's patches hidden, itself drawn: MAGE's own training mask"
    )
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        least, most = read_fractions(
            cls.name,
            arguments or "0.5,1",
            ["the least and the largest share of hidden patches"] * 2,
            cls.usage,
        )
        if least > most or least == 1 or most == 0:
            raise InputError(
                f"corruption '{cls.name}:{arguments}': the least share must be below 1 and not above the largest, "
                f"the largest above 0, for example {cls.usage}"
            )
        return cls(least, most)

    def __str__(self) -> str:
        return f"mask-rates:{number(self.least)},{number(self.most)}"

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        count = grid * grid
        lowest, highest = RATES.cdf(self.least), RATES.cdf(self.most)
        rate = RATES.inv_cdf(lowest + (highest - lowest) * draws.random())
        # the small subtrahend keeps 0.3 * 10 at 3 hidden patches in spite of rounding
        share = math.ceil(count * min(max(rate, self.least), self.most) - 1e-6)
        patches = np.zeros(count, dtype=bool)
        patches[draws.permutation(count)[: min(max(share, 1), count - 1)]] = True
        patch = size // grid
        return patches.reshape(grid, grid).repeat(patch, axis=0).repeat(patch, axis=1)

    def dropped(self, count: int) -> int:
        """How many of `count` patches are left out of the encoder's input: the share that is always hidden."""
        return int(count * self.least + 1e-6)

    def valid_range(self, size: int, grid: int) -> str:
        return (
            "mask-rates:A,B with 0 <= A <= B <= 1, A below 1 and B above 0, on a model of more than one patch"
        )
