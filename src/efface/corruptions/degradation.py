"""Corruptions that hide nothing: the model sees another picture, and all of the image is to be restored."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from efface.corruptions.base import Corrupted, Corruption
from efface.randomness import Draws

if TYPE_CHECKING:
    from torch import Tensor


class Degradation(Corruption):
    """Shows a degraded picture in place of the image. What is lost depends on that image alone."""

    hides: ClassVar[bool] = False

    @abstractmethod
    def degraded(self, images: Tensor) -> Tensor:
        """What is seen instead of `images`, both float `[B, 3, H, W]` in [0, 1]."""

    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        return shown_instead(self.degraded(images), grid)


def shown_instead(picture: Tensor, grid: int) -> Corrupted:
    """`picture` `[B, 3, H, W]` as condition: no pixel is known, and metrics look at all of them."""
    import torch

    count, _, height, width = picture.shape
    nowhere = torch.zeros((count, 1, height, width), dtype=torch.bool, device=picture.device)
    return Corrupted(picture, nowhere, ~nowhere, np.ones((count, grid, grid), dtype=bool))
