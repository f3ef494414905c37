"""What a hole can be filled with that needs no model. Importing this module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mean_fill(images: Tensor, known: Tensor) -> Tensor:
    """`images` `[B, 3, H, W]` with each channel's mean over the `known` pixels, bool `[B, 1, H, W]`, in all others."""
    seen = known.to(images.dtype)
    mean = (images * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return images.where(known, mean)
