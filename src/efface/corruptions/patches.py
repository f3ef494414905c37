"""Holes made of the model's patches, drawn anew for every image and visit, as masked autoencoders and MAGE train."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Self

import numpy as np

from efface.corruptions.base import Hole, Mask, fraction, rounded_down, rounded_up
from efface.errors import InputError

RATES = NormalDist(0.55, 0.25)


@dataclass(frozen=True)
class RandomPatches(Hole):
    """`ratio` of the patches hidden.

    The number of visible patches is `int(N * (1 - ratio))`, the count of He et al. 2022.
    """

    ratio: float = fraction("the share of hidden patches", 0.75)

    name: ClassVar[str] = "random"
    usage: ClassVar[str] = "random:0.75"
    summary: ClassVar[str] = "a random share of the model's patches hidden, the MAE's own training mask"
    of: ClassVar[str] = "all patches"
    is_random: ClassVar[bool] = True

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        count = grid * grid
        # the small addend keeps 10 * (1 - 0.9) at 1 visible patch in spite of rounding
        return _all_but(int(count * (1 - self.ratio) + 1e-6), size, grid, draws)

    def valid_range(self, size: int, grid: int) -> str:
        count = grid * grid
        return f"random:R with R from {rounded_up(1 / count)} to {rounded_down(1 - 1 / count)}"


@dataclass(frozen=True)
class MaskRates(Hole):
    """Between `least` and `most` of the patches hidden, the share itself drawn, as MAGE is trained.

    Li et al., "MAGE: MAsked Generative Encoder" (CVPR 2023), section 3.1: the share comes from a normal distribution
    with mean 0.55 and deviation 0.25, cut off at the least and the largest share. Deviations: it is drawn for every
    image and visit (released: once for a batch), so that an image's mask does not depend on its neighbours; and one
    patch always stays visible (released: all may be hidden, which a share above 255/256 does).

    A model that can leave tokens out of its encoder's input leaves out `dropped(count)` of the hidden ones.
    """

    least: float = fraction("the least share of hidden patches", 0.5)
    most: float = fraction("the largest share of hidden patches", 1.0)

    name: ClassVar[str] = "mask-rates"
    usage: ClassVar[str] = "mask-rates:0.5,1"
    summary: ClassVar[str] = (
        "a random share of the model's patches hidden, itself drawn: MAGE's own training mask"
    )
    of: ClassVar[str] = "all patches"
    is_random: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        rates = super().parse(arguments)
        if rates.least > rates.most or rates.least == 1 or rates.most == 0:
            raise InputError(
                f"corruption '{cls.name}:{arguments}': the least share must be below 1 and not above the largest, "
                f"the largest above 0, for example {cls.usage}"
            )
        return rates

    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        count = grid * grid
        lowest, highest = RATES.cdf(self.least), RATES.cdf(self.most)
        rate = RATES.inv_cdf(lowest + (highest - lowest) * draws.random())
        # the small subtrahend keeps 0.3 * 10 at 3 hidden patches in spite of rounding
        share = math.ceil(count * min(max(rate, self.least), self.most) - 1e-6)
        return ~_all_but(min(max(share, 1), count - 1), size, grid, draws)

    def dropped(self, count: int) -> int:
        """How many of `count` patches are left out of the encoder's input: the share that is always hidden, rounded up as
        the released `models_mage.py` does, and never more than `hidden` hides."""
        return min(math.ceil(count * self.least - 1e-6), count - 1)

    def valid_range(self, size: int, grid: int) -> str:
        return (
            "mask-rates:A,B with 0 <= A <= B <= 1, A below 1 and B above 0, on a model of more than one patch"
        )


def _all_but(count: int, size: int, grid: int, draws: np.random.Generator) -> Mask:
    """All pixels but those of `count` patches drawn at random."""
    patches = np.ones(grid * grid, dtype=bool)
    patches[draws.permutation(grid * grid)[:count]] = False
    patch = size // grid
    return patches.reshape(grid, grid).repeat(patch, axis=0).repeat(patch, axis=1)
