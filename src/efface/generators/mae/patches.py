"""Patches of a masked autoencoder: where they lie, and the statistics of those that are hidden.

A model trained with `norm_pix_loss` predicts each patch with its own mean and variance taken out. To
show a picture, these must be put back, and those of a hidden patch are not known to an honest
restoration: they are taken from the visible patches around it.
"""

from __future__ import annotations

import torch
from torch import Tensor

# He et al., the released training loss: (patch - mean) / sqrt(variance + 1e-6)
VARIANCE_FLOOR = 1e-6


def normalised(patches: Tensor) -> Tensor:
    """`patches` `[B, N, P]` with each patch's mean and (unbiased) variance taken out."""
    mean, variance = statistics(patches)
    return (patches - mean) / (variance + VARIANCE_FLOOR).sqrt()


def denormalised(patches: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The inverse of `normalised`, given statistics `[B, N, 1]`."""
    return patches * (variance + VARIANCE_FLOOR).sqrt() + mean


def statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each patch, `[B, N, 1]` each."""
    return patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)


def from_visible_neighbours(values: Tensor, hidden: Tensor, grid: int) -> Tensor:
    """`values` `[B, N, 1]` on a `grid` x `grid` raster, hidden ones replaced by what their neighbours say.

    Each hidden patch takes the mean of the visible patches weighted by 1 / distance^4 between patch
    centres: near neighbours decide, and every hidden patch has an answer. `hidden` is bool `[B, N]`.
    """
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    centres = torch.stack([rows, columns], dim=-1).reshape(-1, 2).to(values.device, torch.float32)
    distance = torch.cdist(centres, centres)
    weight = (~hidden).float().unsqueeze(1) / distance.clamp(min=1).pow(4)
    interpolated = weight @ values.float() / weight.sum(dim=-1, keepdim=True)
    return torch.where(hidden.unsqueeze(-1), interpolated, values.float())


def sine_cosine_positions(grid: int, width: int) -> Tensor:
    """The fixed position embeddings of He et al. 2022: `[1, 1 + grid * grid, width]`, a zero row first.

    A quarter of the width each: sine and cosine of the column, then sine and cosine of the row, at
    frequencies 10000^(-4k / width), k = 0, 1, ...
    """
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (columns, rows)]
    positions = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(1, width), positions.float()]).unsqueeze(0)
