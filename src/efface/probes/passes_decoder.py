"""What `decoder-leftover` does to models: a fresh encoder in front of a decoder, and a linear map between them.

Imports torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from efface.generators.base import Generator, View
from efface.images.items import ImageSet
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.subject import Values
from efface.weights import weights_digest

Maps = list[tuple[Tensor, Tensor]]
"""For each feature map the matrix `[channels, channels]` and the shift `[channels]`."""


def decoder_digest(model: Generator) -> str:
    """sha256 of all weights but the encoder's."""
    encoder = model.encoder_parameters()
    return weights_digest({n: t for n, t in model.network.state_dict().items() if n not in encoder})


def with_fresh_encoder(model: Generator, subject: GeneratorSubject) -> Generator:
    """A copy whose encoder has fresh random weights, the same for every model of one shape; the rest is kept.

    Raises `InputError` for a model that cannot be made anew, as one with low-rank factors.
    """
    copied = subject.copy_of(model)
    encoder = copied.encoder_parameters()
    kept = {n: t.clone() for n, t in copied.network.state_dict().items() if n not in encoder}
    copied.reinitialise(subject.seed, keep_first_stage=True)
    copied.network.load_state_dict({**copied.network.state_dict(), **kept})
    return copied.eval()


def linear_maps(
    model: Generator, wanted: Generator, images: ImageSet, subject: GeneratorSubject, penalty: float
) -> Maps:
    """For each feature map the ridge regression of the features of `wanted` on those of `model`, over all places.

    penalty: of the distance to the identity, added to the covariance's diagonal as a share of its mean.
    """
    sums: list[_Moments] = []

    def both(view: View) -> list[tuple[Tensor, Tensor]]:
        return list(zip(model.encode(view), wanted.encode(view), strict=True))

    with torch.no_grad():
        for maps in subject.over_views(model, images, both):
            for place, (given, aim) in enumerate(maps):
                x, y = (_channels_last(features).flatten(0, -2).double() for features in (given, aim))
                if place == len(sums):
                    sums.append(_Moments(x.shape[1], x.device))
                sums[place].add(x, y)
        return [moments.solve(penalty) for moments in sums]


def mapped_errors(model: Generator, maps: Maps, images: ImageSet, subject: GeneratorSubject) -> Values:
    """Log of each image's own loss where the decoder is given the mapped features, `[images]`."""

    def losses(view: View) -> Tensor:
        features = tuple(
            _channels_back((_channels_last(given).double() @ matrix + shift).to(given.dtype), given)
            for given, (matrix, shift) in zip(model.encode(view), maps, strict=True)
        )
        prediction = model.decode(features, view)
        return model.prediction_loss(prediction, model.task_target(view), view).float().cpu()

    with torch.no_grad():
        return subject.logarithms(torch.cat(list(subject.over_views(model, images, losses))))


class _Moments:
    """Sums from which a regression is solved, so that no features need be kept."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.count = 0
        self.x, self.y = torch.zeros(2, channels, dtype=torch.float64, device=device)
        self.xx, self.xy = torch.zeros(2, channels, channels, dtype=torch.float64, device=device)

    def add(self, x: Tensor, y: Tensor) -> None:
        self.count += len(x)
        self.x += x.sum(dim=0)
        self.y += y.sum(dim=0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Matrix and shift. What is penalised is the distance to the identity: where few images tell nothing,
        features stay as they are."""
        x, y = self.x / self.count, self.y / self.count
        covariance = self.xx / self.count - x.outer(x)
        smallest = torch.finfo(torch.float64).tiny
        ridge = penalty * covariance.diagonal().mean().clamp(min=smallest)
        identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
        residual = self.xy / self.count - x.outer(y) - covariance
        matrix = identity + torch.linalg.solve(covariance + ridge * identity, residual)
        return matrix, y - x @ matrix


def _channels_last(features: Tensor) -> Tensor:
    """`[B, C, H, W]` as `[B, H, W, C]`; tokens and vectors have their channels last already."""
    return features.movedim(1, -1) if features.ndim == 4 else features


def _channels_back(features: Tensor, like: Tensor) -> Tensor:
    return features.movedim(-1, 1).contiguous() if like.ndim == 4 else features
