"""`jpeg:10` shows the image as a JPEG file of that quality keeps it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from PIL import Image

from efface.corruptions.degradation import Degradation
from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Jpeg(Degradation):
    """Encoded and decoded by Pillow (libjpeg's quality scale, chroma halved in both directions).

    Pixels are rounded to 8 bits first, as a file has them. The same image gives the same picture with one
    version of libjpeg; another version may differ in the last bit.
    """

    quality: int = 10

    name: ClassVar[str] = "jpeg"
    usage: ClassVar[str] = "jpeg:10"
    summary: ClassVar[str] = "the image as a JPEG file of that quality, 1 to 95 (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        text = arguments.strip() or "10"
        if not text.isascii() or not text.isdigit():
            raise InputError(f"corruption 'jpeg:{arguments}': give a whole quality, for example {cls.usage}")
        return cls(int(text))

    def __str__(self) -> str:
        return f"jpeg:{self.quality}"

    def degraded(self, images: Tensor) -> Tensor:
        import torch

        pixels = images.detach().mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        decoded = np.stack([self._round_trip(picture) for picture in pixels.cpu().numpy()])
        restored = torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2)
        return restored.to(images.dtype).div(255).contiguous()

    def check(self, size: int, grid: int) -> None:
        if not 1 <= self.quality <= 95:
            raise InputError(f"corruption '{self}': the quality is from 1 to 95, for example jpeg:10")

    def _round_trip(self, picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return np.asarray(Image.open(file).convert("RGB"))
