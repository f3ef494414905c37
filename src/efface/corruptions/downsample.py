"""`downsample:4` shows the image at a quarter of its resolution, enlarged again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from efface.corruptions.degradation import Degradation
from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Downsample(Degradation):
    """Shrunk `factor` times with an antialiased bicubic filter, then enlarged by bicubic interpolation.

    The usual degradation of super-resolution: shrinking averages what it leaves out, so nothing aliases.
    """

    factor: int = 4

    name: ClassVar[str] = "downsample"
    usage: ClassVar[str] = "downsample:4"
    summary: ClassVar[str] = "the resolution divided by a whole number (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        text = arguments.strip() or "4"
        if not text.isascii() or not text.isdigit():
            raise InputError(
                f"corruption 'downsample:{arguments}': give a whole factor, for example {cls.usage}"
            )
        return cls(int(text))

    def __str__(self) -> str:
        return f"downsample:{self.factor}"

    def degraded(self, images: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        height, width = images.shape[-2:]
        small = (max(1, round(height / self.factor)), max(1, round(width / self.factor)))
        low = interpolate(images, small, mode="bicubic", antialias=True)
        return interpolate(low, (height, width), mode="bicubic").clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if not 2 <= self.factor <= size // 2:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): downsample:N with whole N from 2 to "
                f"{size // 2}"
            )
