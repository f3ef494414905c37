"""`blur:0.02` shows the image out of focus: a Gaussian of that share of the side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from efface.corruptions.base import number, read_fractions, rounded_up
from efface.corruptions.degradation import Degradation
from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LEAST_PIXELS = 0.3  # a narrower Gaussian leaves the neighbouring pixels less than half a percent


@dataclass(frozen=True)
class Blur(Degradation):
    """Gaussian blur with a standard deviation of `width` times the side."""

    width: float = 0.02

    name: ClassVar[str] = "blur"
    usage: ClassVar[str] = "blur:0.02"
    summary: ClassVar[str] = "Gaussian blur, its standard deviation as fraction of the side (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(*read_fractions(cls.name, arguments or "0.02", ["the standard deviation"], cls.usage))

    def __str__(self) -> str:
        return f"blur:{number(self.width)}"

    def degraded(self, images: Tensor) -> Tensor:
        return gaussian(images, self.width * images.shape[-1]).clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if not LEAST_PIXELS <= self.width * size <= size / 4:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): blur:F with F from "
                f"{rounded_up(LEAST_PIXELS / size)} to 0.25"
            )


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """`images` `[B, C, H, W]` blurred with a Gaussian of `sigma` pixels, cut off at three of them.

    The border is continued by its own pixels. Sums of shifted copies, so that no image's value depends on the
    others in its batch, not even in the last bit.
    """
    reach = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-reach, reach + 1)]
    total = sum(weights)
    for axis in (-2, -1):
        images = _along(images, [weight / total for weight in weights], axis)
    return images


def _along(images: Tensor, weights: list[float], axis: int) -> Tensor:
    import torch

    reach, length = len(weights) // 2, images.shape[axis]
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, length - 1, 1)
    shape = [1] * images.dim()
    shape[axis] = reach
    padded = torch.cat((first.repeat(shape), images, last.repeat(shape)), dim=axis)
    out = torch.zeros_like(images)
    for start, weight in enumerate(weights):
        out += weight * padded.narrow(axis, start, length)
    return out
