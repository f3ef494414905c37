"""Plain statistics of what stands in a hole: what an onlooker sees of a completion, without the truth beside it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HOLE_STATISTICS = (
    "red",
    "green",
    "blue",
    "red spread",
    "green spread",
    "blue spread",
    "edges",
    "grain",
    "seam",
)
"""Mean and standard deviation of each channel; mean squared step to the right and lower neighbour; mean squared
difference from the mean of the three by three pixels around; mean squared step across the hole's border."""


def hole_statistics(images: Tensor, region: Tensor) -> Tensor:
    """float32 `[B, 9]`, in the order of `HOLE_STATISTICS`, of pictures `[B, 3, H, W]` in [0, 1].

    region: boolean `[B, 1, H, W]`, with at least one pixel in each image. Steps count where both pixels lie in the
    region, the seam where one does; a hole without a border has the seam 0.
    """
    images, region = _around(images, region)
    inside = region.float()
    count = inside.sum(dim=(2, 3)).clamp(min=1)
    mean = (images * inside).sum(dim=(2, 3)) / count
    spread = ((images - mean[:, :, None, None]).square_().mul_(inside)).sum(dim=(2, 3)) / count
    steps = ((images.diff(dim=3).square_().mean(1), region[:, 0, :, 1:], region[:, 0, :, :-1]),
             (images.diff(dim=2).square_().mean(1), region[:, 0, 1:], region[:, 0, :-1]))  # fmt: skip
    edges = _mean_where([(step, one & other) for step, one, other in steps])
    seam = _mean_where([(step, one ^ other) for step, one, other in steps])
    grain = ((images - _blurred(images)).square_().mean(1) * inside[:, 0]).sum(dim=(1, 2)) / count[:, 0]
    return torch.cat([mean, spread.sqrt(), torch.stack([edges, grain, seam], dim=1)], dim=1).float()


def _around(images: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Both cut to the smallest rectangle that holds all regions of the batch, and the pixels next to them."""
    somewhere = region.any(dim=0)[0]
    windows = []
    for axis in (1, 0):
        places = somewhere.any(dim=axis).nonzero().flatten().tolist()
        first, last = (places[0], places[-1]) if places else (0, 0)
        windows.append(slice(max(first - 1, 0), last + 2))
    return images[:, :, windows[0], windows[1]], region[:, :, windows[0], windows[1]]


def _blurred(images: Tensor) -> Tensor:
    """Means of three by three pixels, those at the border repeated beyond it."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _mean_where(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    total = sum((step * where).sum(dim=(1, 2)) for step, where in parts)
    count = sum(where.sum(dim=(1, 2)) for _, where in parts)
    assert isinstance(total, Tensor)
    assert isinstance(count, Tensor)
    return total / count.clamp(min=1)
