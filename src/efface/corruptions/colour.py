"""`colour` takes the colour away: the model sees the grey picture, and restores the colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from efface.corruptions.base import number, read_fractions
from efface.corruptions.degradation import Degradation
from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = {
    "rec601": (0.299, 0.587, 0.114),
    "rec709": (0.2126, 0.7152, 0.0722),
}
"""Luma of R'G'B' values by ITU-R BT.601 (as JPEG has it) and BT.709."""


@dataclass(frozen=True)
class Colour(Degradation):
    """The luma picture plus `kept` of what distinguishes the image from it: `Y + kept (image - Y)`."""

    kept: float = 0.0
    luma: str = "rec601"

    name: ClassVar[str] = "colour"
    usage: ClassVar[str] = "colour or colour:0.2 or colour:0,rec709"
    summary: ClassVar[str] = "the colour taken away, all of it or but for a share (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        share, _, luma = (part.strip() for part in (arguments or "0").partition(","))
        if luma and luma not in WEIGHTS:
            raise InputError(f"corruption 'colour:{arguments}': the luma is {' or '.join(WEIGHTS)}")
        (kept,) = read_fractions(
            cls.name, share, ["the share of colour that is kept"], cls.usage, of="colour"
        )
        return cls(kept, luma or "rec601")

    def __str__(self) -> str:
        luma = "" if self.luma == "rec601" else f",{self.luma}"
        return f"colour:{number(self.kept)}{luma}" if self.kept or luma else "colour"

    def degraded(self, images: Tensor) -> Tensor:
        red, green, blue = WEIGHTS[self.luma]
        grey = red * images[:, 0:1] + green * images[:, 1:2] + blue * images[:, 2:3]
        return (grey + self.kept * (images - grey)).clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if self.kept >= 1:
            raise InputError(f"corruption '{self}' takes no colour away; valid: colour:F with F below 1")
