"""Small networks of other people's kinds: skips, in-place activations, batch normalisation, tuples, shared modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


class UNet(nn.Module):
    """Of the pix2pix kind: in-place activations behind skips, batch normalisation, a dictionary as answer."""

    def __init__(self, inputs: int = 3, width: int = 8, outputs: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width))
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width))
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.out = nn.Conv2d(2 * width, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        skip = self.stem(x)
        low = self.middle(self.act(self.down(self.act(skip))))
        up = self.up(self.dropout(self.act(low)))
        return {"features": low, "picture": self.out(torch.cat([up, skip], dim=1))}


def unet(inputs: int = 3, width: int = 8, outputs: int = 3, dropout: float = 0.0) -> nn.Module:
    return UNet(inputs, width, outputs, dropout)


class Enlarging(nn.Module):
    """A residual network that enlarges pictures, and adds their plain enlargement: its input passes its encoder."""

    def __init__(self, scale: int = 2, width: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.tail = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        deep = first = self.head(x)
        for layer in self.body:
            deep = deep + layer(relu(deep))
        answer = self.tail(deep + first) + interpolate(x, scale_factor=self.scale, mode="nearest")
        return answer, deep.mean(dim=(2, 3))


def enlarging(scale: int = 2, width: int = 8) -> nn.Module:
    return Enlarging(scale, width)


class Denoising(nn.Module):
    """Told the noise level by name; one block runs three times."""

    def __init__(self, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + 1, width, 3, padding=1)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, *, sigma: Tensor) -> Tensor:
        deep = self.first(torch.cat([x, sigma.expand(-1, 1, *x.shape[2:])], dim=1))
        for _ in range(3):
            deep = self.block(deep)
        return x - self.last(deep)


def denoising(channels: int = 3, width: int = 8) -> nn.Module:
    return Denoising(channels, width)
