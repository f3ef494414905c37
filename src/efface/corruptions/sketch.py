"""`sketch` shows a line drawing of the image, black on white: pairs of sketch and photo from any set.

The lines are the dark sides of edges, found as a difference of two Gaussians and darkened by a soft
threshold (Winnemöller, Kyprianidis and Olsen 2012, "XDoG", equations 1 to 5, without the flow field).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from efface.corruptions.base import number, read_fractions, rounded_up
from efface.corruptions.blur import gaussian
from efface.corruptions.colour import WEIGHTS
from efface.corruptions.degradation import Degradation
from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LEAST_PIXELS = 0.3
WIDER = 1.6  # the ratio of widths at which the difference is nearest to a Laplacian (Marr and Hildreth 1980)
SHARPNESS = 0.98  # below 1, so that even faint grain on a bright ground stays white
DARKNESS = 40.0


@dataclass(frozen=True)
class Sketch(Degradation):
    """Lines of about `width` times the side; the same picture in all three channels."""

    width: float = 0.004

    name: ClassVar[str] = "sketch"
    usage: ClassVar[str] = "sketch:0.01"
    summary: ClassVar[str] = "a line drawing; the width of its Gaussian as fraction of the side (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(*read_fractions(cls.name, arguments or "0.004", ["the width of a line"], cls.usage))

    def __str__(self) -> str:
        return f"sketch:{number(self.width)}"

    def degraded(self, images: Tensor) -> Tensor:
        red, green, blue = WEIGHTS["rec601"]
        grey = red * images[:, 0:1] + green * images[:, 1:2] + blue * images[:, 2:3]
        sigma = self.width * images.shape[-1]
        difference = gaussian(grey, sigma) - SHARPNESS * gaussian(grey, WIDER * sigma)
        lines = 1 + (DARKNESS * difference.clamp(max=0)).tanh()
        return lines.repeat(1, 3, 1, 1)

    def check(self, size: int, grid: int) -> None:
        if not LEAST_PIXELS <= self.width * size <= size / 16:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): sketch:F with F from "
                f"{rounded_up(LEAST_PIXELS / size)} to 0.0625"
            )
