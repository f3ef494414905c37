"""A network of one's own: a small denoiser, told the noise level beside the picture. It knows nothing of efface."""

import torch
from torch import Tensor, nn


class SmallDenoiser(nn.Module):
    """Takes a picture `[B, 3, H, W]` in [-1, 1] and the noise level `[B, 1, 1, 1]`; gives the picture without noise."""

    def __init__(self, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        deep = self.head(torch.cat([noisy, level.expand(-1, 1, *noisy.shape[2:])], dim=1))
        for layer in self.body:
            deep = deep + layer(deep.relu())
        return noisy - self.tail(deep)


def build(width: int = 24, depth: int = 4) -> nn.Module:
    """What `model.network=small_denoiser:build` calls."""
    return SmallDenoiser(width, depth)
