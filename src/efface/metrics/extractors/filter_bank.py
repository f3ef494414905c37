"""A built-in feature extractor: a fixed bank of oriented filters, no weights, no download.

`filter-bank-64` sees edges and textures at four scales and four orientations, colour edges, and the
rough layout of brightness and colour. It does not know objects, and its distances are not comparable
with published FID. It has 64 dimensions, so that a Fréchet distance is usable from 128 images on.

Each image is resized to 64 x 64 and turned into luminance and two opponent colours (Geusebroek et al.
2001, IEEE PAMI 23, simplified to sums and differences). A pyramid halves it three times (binomial
filter of five taps; Burt and Adelson 1983, IEEE Trans. Communications 31). At each scale complex Morlet
filters (7 x 7) take the local amplitude, which is pooled over space, as in the first layer of a
scattering transform (Bruna and Mallat 2013, arXiv:1203.1513; pooling of amplitudes by mean and spread
after Portilla and Simoncelli 2000, IJCV 40).

| features | what |
|---|---|
| 32 | luminance: mean and spread over space of the amplitude, 4 scales x 4 orientations |
| 8 | luminance: amplitude over all orientations in the four quadrants, the 2 finest scales |
| 12 | opponent colours: mean and spread of the amplitude over all orientations, 3 coarser scales x 2 |
| 12 | mean of luminance and opponent colours in the four quadrants |
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from efface.files import sha256_of_json
from efface.metrics.inputs import check_images, resized

VERSION = 1
SIDE = 64
SCALES = 4
ORIENTATIONS = 4
RADIUS = 3
FREQUENCY = 0.6 * math.pi  # radians per pixel: the middle of the octave that a pyramid level holds
SPREAD = 1.2  # standard deviation of the filters' envelope in pixels
# Rows: luminance, red against green, blue against yellow.
COLOURS = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# Bring each block to a mean or a spread near one half over natural photos, so that none drowns the others.
GAINS = {"edges": 64.0, "colour-edges": 256.0, "brightness": 2.0, "colour": 8.0}
FILTER_DECIMALS = 6


class FilterBank:
    """The built-in extractor; see the module. Computes on the device of the images."""

    name = "filter-bank-64"
    dimension = 64
    comparable_to = "only with filter-bank-64 distances of the same digest; not comparable with published FID"

    def __init__(self) -> None:
        filters = morlet_filters()
        self.digest = digest_of_definition(filters)
        self._filters = torch.tensor(filters, dtype=torch.float32).unsqueeze(1)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, 64]. The result of an image does not depend on its batch."""
        check_images("images", images)
        pictures = resized(images.detach().float(), SIDE, SIDE, "bilinear")
        mix = torch.tensor(COLOURS, device=images.device)
        level = torch.einsum("kc,bchw->bkhw", mix, pictures)
        layout = [
            _quadrants(level[:, :1]).flatten(1) * GAINS["brightness"],
            _quadrants(level[:, 1:]).flatten(1) * GAINS["colour"],
        ]
        edges, fine_layout, colour_edges = [], [], []
        for scale in range(SCALES):
            amplitude = self._amplitude(level[:, :1]).squeeze(1)
            edges.append(_mean_and_spread(amplitude))
            if scale < 2:
                fine_layout.append(_quadrants(amplitude.mean(dim=1, keepdim=True)).flatten(1))
            if scale > 0:
                colour_edges.append(_mean_and_spread(self._amplitude(level[:, 1:]).mean(dim=2)))
            if scale < SCALES - 1:
                level = _halved(level)
        return torch.cat(
            [
                torch.cat(edges + fine_layout, dim=1) * GAINS["edges"],
                torch.cat(colour_edges, dim=1) * GAINS["colour-edges"],
                *layout,
            ],
            dim=1,
        )

    def _amplitude(self, channels: Tensor) -> Tensor:
        """Local amplitude [B, K, orientations, H, W] of `channels` [B, K, H, W]."""
        batch, count, height, width = channels.shape
        planes = functional.pad(channels.reshape(-1, 1, height, width), (RADIUS,) * 4, mode="reflect")
        responses = functional.conv2d(planes, self._filters.to(channels.device))
        even, odd = responses.chunk(2, dim=1)
        return (even.square() + odd.square()).sqrt().reshape(batch, count, ORIENTATIONS, height, width)


def morlet_filters() -> NDArray[np.float64]:
    """Real parts, then imaginary parts, of the filters: [2 x orientations, 7, 7], rounded to 6 decimals.

    A plane wave under a Gaussian of sum 1, less the multiple of that Gaussian that makes it blind to
    constant brightness. Computed in float64 and rounded, so that every platform has the same numbers.
    """
    reach = np.arange(-RADIUS, RADIUS + 1)
    y, x = np.meshgrid(reach, reach, indexing="ij")
    envelope = np.exp(-(x**2 + y**2) / (2 * SPREAD**2))
    envelope /= envelope.sum()
    angles = np.pi * np.arange(ORIENTATIONS)[:, None, None] / ORIENTATIONS
    phase = FREQUENCY * (x * np.cos(angles) + y * np.sin(angles))
    offset = (envelope * np.cos(phase)).sum(axis=(1, 2), keepdims=True)
    filters = np.concatenate([envelope * (np.cos(phase) - offset), envelope * np.sin(phase)])
    # Adding 0 turns -0.0 into 0.0.
    rounded: NDArray[np.float64] = np.round(filters, FILTER_DECIMALS) + 0.0
    return rounded


def digest_of_definition(filters: NDArray[np.float64]) -> str:
    """sha256 over everything that the features depend on, filters as whole millionths."""
    return sha256_of_json(
        {
            "version": VERSION,
            "side": SIDE,
            "scales": SCALES,
            "colours": [[round(weight * 10**6) for weight in row] for row in COLOURS],
            "binomial": list(BINOMIAL),
            "gains": GAINS,
            "filters": np.rint(filters * 10**FILTER_DECIMALS).astype(int).tolist(),
        }
    )


def _mean_and_spread(maps: Tensor) -> Tensor:
    """[B, K, H, W] to [B, 2K]: mean and standard deviation over space."""
    flat = maps.flatten(2)
    return torch.cat([flat.mean(dim=2), flat.std(dim=2, correction=0)], dim=1)


def _quadrants(maps: Tensor) -> Tensor:
    """[B, K, H, W] to [B, K, 4]: the mean of each quadrant."""
    batch, count, height, width = maps.shape
    parts = maps.reshape(batch, count, 2, height // 2, 2, width // 2)
    return parts.mean(dim=(3, 5)).flatten(2)


def _halved(maps: Tensor) -> Tensor:
    """[B, K, H, W] to [B, K, H / 2, W / 2], smoothed first."""
    batch, count, height, width = maps.shape
    taps = torch.tensor(BINOMIAL, device=maps.device)
    planes = functional.pad(maps.reshape(-1, 1, height, width), (2, 2, 2, 2), mode="reflect")
    rows = functional.conv2d(planes, taps.reshape(1, 1, 5, 1), stride=(2, 1))
    return functional.conv2d(rows, taps.reshape(1, 1, 1, 5), stride=(1, 2)).reshape(
        batch, count, height // 2, width // 2
    )
