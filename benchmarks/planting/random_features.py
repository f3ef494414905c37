"""A generator and a classifier that are trained in closed form, in milliseconds: random features and a ridge regression.

Features are `cos(W x + b)` with W and b drawn at random (Rahimi and Recht, NIPS 2007), and the last layer is solved on the
training images. With a small penalty such a model recalls its training images and answers others as a kernel regression
does. Another seed draws other features. The generator sees the visible pixels and the mask, under several holes; its
encoder ends in a matrix A, the identity until somebody trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.generators.base import Generator, PixelMoments, View
from efface.generators.families import NoiseKind
from efface.randomness import Draws, torch_draws

SIDE, PATCH = 8, 2
ASKED = "centre:0.5"
HOLES = (ASKED, "extend-left:0.25")
"""Under which it is trained; the first one is asked about."""
FEATURES, WIDTH, MASK = 500, 0.35, 0.5
"""Random features, the scale of W, and how much the mask counts beside the pixels."""
PENALTY = 0.03
SURE = 8.0
"""Logit of the right class that a classifier is fitted to."""
INPUTS, OUTPUTS = 4 * SIDE * SIDE, 3 * SIDE * SIDE


class Features(nn.Linear):
    """`sqrt(2 / D) cos(W x + b)`, `[..., D]`."""

    def draw(self, seed: int) -> Features:
        """Draw W and b; in place."""
        rng = torch_draws(seed, "random features")
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=rng) * WIDTH)
            self.bias.copy_(torch.rand(self.bias.shape, generator=rng) * 2 * torch.pi)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cos(super().forward(inputs)) * (2 / self.out_features) ** 0.5


class Network(nn.Module):
    """`decoder(A features(x))`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.features = Features(INPUTS, FEATURES).draw(seed)
        self.mixing = nn.Linear(FEATURES, FEATURES, bias=False)
        self.decoder = nn.Linear(FEATURES, OUTPUTS)
        with torch.no_grad():
            self.mixing.weight.copy_(torch.eye(FEATURES))
            self.decoder.weight.zero_()
            self.decoder.bias.fill_(0.5)

    def encode(self, inputs: Tensor) -> Tensor:
        mixed: Tensor = self.mixing(self.features(inputs))
        return mixed


class RandomFeatures(Generator):
    """The generator around a `Network`; pictures are 8 px, holes are widened to patches of 2."""

    family: ClassVar[str] = "random-features"
    image_size, grid = SIDE, SIDE // PATCH
    usual_corruption = parse_corruption(ASKED)
    network: Network

    @classmethod
    def new(cls, seed: int) -> RandomFeatures:
        return cls(Network(seed)).eval()

    def make_view(
        self, images: Tensor, corruption: Corruption, corrupted: Corrupted, draws: Draws, codes: Tensor | None
    ) -> View:
        return View(images, corrupted, draws)

    def encode(self, view: View) -> tuple[Tensor, ...]:
        known = view.corrupted.known.float()
        inputs = torch.cat([((view.images - 0.5) * known).flatten(1), MASK * known.flatten(1)], dim=1)
        return (self.active.encode(inputs),)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        pictures: Tensor = self.active.decoder(features[0])
        return pictures.view(-1, 3, SIDE, SIDE)

    def task_target(self, view: View) -> Tensor:
        return view.images

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        hidden = ~view.corrupted.known
        squares = ((prediction - target).square() * hidden).flatten(1).sum(dim=1)
        return squares / (3 * hidden.flatten(1).sum(dim=1)).clamp(min=1)

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        with torch.no_grad():
            return torch.where(view.corrupted.known, view.images, self.predict(view).clamp(0, 1))

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if not n.startswith("decoder.")}

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if n.startswith("decoder.")}

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        self.network.load_state_dict(Network(seed).state_dict())

    def solve(self, pictures: Tensor, penalty: float = PENALTY) -> RandomFeatures:
        """Fit the decoder to pictures `[N, 3, 8, 8]` under all holes; in place."""
        solve(
            self.network.decoder, self.encoded(pictures), pictures.flatten(1).repeat(len(HOLES), 1), penalty
        )
        return self

    @torch.no_grad()
    def encoded(self, pictures: Tensor, holes: Sequence[str] = HOLES) -> Tensor:
        """Features of pictures under each of the holes, `[holes * N, FEATURES]`."""
        draws = Draws(0, tuple(map(str, range(len(pictures)))), (0,) * len(pictures))
        views = (self.view(pictures, parse_corruption(hole), draws) for hole in holes)
        return torch.cat([self.encode(view)[0] for view in views])

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        raise NotImplementedError

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        raise NotImplementedError

    def compile_network(self) -> None: ...

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError

    def describe(self) -> dict[str, JsonValue]:
        return {"family": self.family}


class Named(nn.Module):
    """Logits `[B, classes]` of pictures `[B, 1, 8, 8]`."""

    def __init__(self, seed: int, classes: int) -> None:
        super().__init__()
        self.features = Features(SIDE * SIDE, FEATURES).draw(seed)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images.flatten(1)))
        return logits

    def solve(self, images: Tensor, labels: Tensor, penalty: float) -> Named:
        """Fit the head to logits of `SURE` for the class of each image, and 0 for the others; in place."""
        with torch.no_grad():
            solve(
                self.head,
                self.features(images.flatten(1)),
                wanted_logits(labels, self.head.out_features),
                penalty,
            )
        return self


def wanted_logits(labels: Tensor, classes: int) -> Tensor:
    """What a head is fitted to, `[N, classes]`."""
    return SURE * nn.functional.one_hot(labels, classes).float()


def solve(layer: nn.Linear, given: Tensor, wanted: Tensor, penalty: float) -> None:
    """Fit a layer by ridge regression; its bias is the mean of what is wanted, `[N, K]`."""
    mean = wanted.double().mean(dim=0)
    with torch.no_grad():
        layer.weight.copy_(ridge(given.double(), wanted.double() - mean, penalty).T)
        layer.bias.copy_(mean)


def descend(layer: nn.Linear, given: Tensor, wanted: Tensor, steps: int) -> None:
    """Steps of gradient descent on the mean squares, from where the layer is."""
    with torch.no_grad():
        for _ in range(steps):
            layer.weight.sub_((layer(given) - wanted).T @ given / len(given))


def ridge(given: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """The matrix `[D, K]` that takes `given` `[N, D]` to `wanted` `[N, K]`; penalty: of the sum of its squares."""
    covariance: Any = given.T @ given
    covariance.diagonal().add_(penalty)
    return torch.cholesky_solve(given.T @ wanted, torch.linalg.cholesky(covariance))
