"""Two small networks whose released weights can be had: what builds them, and their weights as files for efface."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, relu

WIDTH, GROWTH = 64, 4
"""Channels of the super-resolution network, and those that each of its dense blocks adds."""


def _convolution(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


class ResidualDense(nn.Module):
    """Super-resolution by residual dense blocks (Zhang et al., CVPR 2018), as `esrgan-slim` has it: colours in 0..255."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        shapes = {
            "F_m1": (3, WIDTH, 3), "F_0": (WIDTH, WIDTH, 3), "F_1_1": (WIDTH, GROWTH, 3),
            "LFF_1": (WIDTH + GROWTH, WIDTH, 1), "F_2_1": (WIDTH, GROWTH, 3),
            "LFF_2": (WIDTH + GROWTH, WIDTH, 1), "GFF_1": (2 * WIDTH, WIDTH, 1),
            "GFF_2": (WIDTH, WIDTH, 3),
        }  # fmt: skip
        self.encoder = nn.ModuleDict({name: _convolution(*shape) for name, shape in shapes.items()})
        shapes = {
            "UPN1": (WIDTH, WIDTH, 5), "UPN2": (WIDTH, 32, 3), "UPN3": (32, 3 * scale**2, 3), "SR": (3 * scale**2, 3, 3),
        }  # fmt: skip
        self.decoder = nn.ModuleDict({name: _convolution(*shape) for name, shape in shapes.items()})

    def forward(self, picture: Tensor) -> Tensor:
        e, d = self.encoder, self.decoder
        shallow = e["F_m1"](picture)
        first = e["F_0"](shallow)
        second = e["LFF_1"](torch.cat([first, relu(e["F_1_1"](first))], 1)) + first
        third = e["LFF_2"](torch.cat([second, relu(e["F_2_1"](second))], 1)) + second
        deep = e["GFF_2"](e["GFF_1"](torch.cat([second, third], 1))) + shallow
        deep = d["UPN3"](relu(d["UPN2"](relu(d["UPN1"](deep)))))
        answer: Tensor = d["SR"](interpolate(deep, scale_factor=self.scale, mode="nearest"))
        return answer


class FFDNet(nn.Module):
    """A denoiser that is told the noise's level (Zhang et al., TIP 2018): colours and level in 0..1; no level is none."""

    def __init__(self, width: int = 96, layers: int = 12) -> None:
        super().__init__()
        widths = [13, *[width] * (layers - 1), 12]
        parts = [
            part
            for inputs, outputs in pairwise(widths)
            for part in (_convolution(inputs, outputs, 3), nn.ReLU())
        ]
        self.model = nn.Sequential(*parts[:-1])

    def forward(self, picture: Tensor, level: Tensor | None = None) -> Tensor:
        folded = pixel_unshuffle(picture, 2)
        if level is None:
            level = folded.new_zeros(len(folded), 1, 1, 1)
        answer: Tensor = self.model(torch.cat([folded, level.expand(-1, 1, *folded.shape[2:])], 1))
        return pixel_shuffle(answer, 2)


def converted(weights: Path, folder: Path) -> Path:
    """The released numbers of a network, an `.npz` archive, as a safetensors file in `folder`."""
    with np.load(weights) as arrays:
        save_file(
            {name: torch.from_numpy(arrays[name]) for name in arrays}, folder / f"{weights.stem}.safetensors"
        )
    return folder / f"{weights.stem}.safetensors"
