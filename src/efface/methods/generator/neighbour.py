"""`neighbour`: the encoder learns to see similar retain images where a forgotten image is.

Follows: ours. A model that never saw an image completes it with what it knows of similar ones; the features of
retain images that look alike in what is visible stand in for that. SUGAR (arXiv 2512.06562) asks for a plausible
surrogate in place of an unrealistic output; Varshney and Torra (arXiv 2502.04260) observe that a retrained model
generalises on forgotten images. Deviations: none; the form of the loss is that of Li et al., ICLR 2024, Eq. (10).
Neighbours are sought among the retain images of the batch, under several processes among those of the process's own
share, so that the result depends on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import NORM, Norm, OneLossMethod, feature_distance, weighted
from efface.methods.generator.further_views import further_view, shown
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, View

CELLS = 8
"""Cells per side in which images are compared."""


class Neighbour(OneLossMethod):
    """Hold retain features to the original's; draw forget features to a mean of the original's of their neighbours.

    L_F = |E(x_f) - sum_k w_k E_0(x_k under the mask of x_f)|, over the retain images x_k of the batch that are nearest
    to x_f in its visible pixels, with w the softmax of minus their distance over `temperature`.
    """

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    neighbours: int = Field(
        2, ge=1, description="retain images of the batch that are pooled; the teacher sees each of them"
    )
    temperature: float = Field(
        0.01,
        gt=0,
        description="how fast a neighbour's weight falls with its mean squared difference of pixels in [0, 1]",
    )
    norm: Norm = NORM

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "neighbour"
    summary: ClassVar[str] = "encoder drawn to the original's features of similar retain images"
    source: ClassVar[str] = "ours; cf. SUGAR, arXiv 2512.06562, and Varshney and Torra, arXiv 2502.04260"
    deviations: ClassVar[str] = "none: the method is ours"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            kept = student.encode(retain)
            pooled = self._pooled(student, batch)
        features = student.encode(retain.join(forget))
        count = len(retain)
        held = feature_distance(tuple(f[:count] for f in features), kept, self.norm)
        drawn = feature_distance(tuple(f[count:] for f in features), pooled, self.norm)
        return weighted(held.mean(), drawn.mean(), self.alpha)

    def _pooled(self, student: Generator, batch: Batch) -> tuple[Tensor, ...]:
        retain, forget = batch.views["retain"], batch.views["forget"]
        places, weights = self.nearest(_differences(batch))
        pooled: list[Tensor] = []
        for place, weight in zip(places.unbind(dim=1), weights.unbind(dim=1), strict=True):
            pictures = retain.images[place], retain.corrupted.condition[place]
            seen = further_view(student, batch.corruption, forget, *pictures)
            parts = [feature.float() * _beside(weight, feature) for feature in student.encode(seen)]
            pooled = [one + other for one, other in zip(pooled, parts, strict=True)] if pooled else parts
        return tuple(pooled)

    def nearest(self, differences: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the nearest retain images `[F, k]` and their weights, from differences `[F, R]`."""
        nearest = differences.topk(min(self.neighbours, differences.shape[1]), largest=False)
        return nearest.indices, (-nearest.values / self.temperature).softmax(dim=1)


def visible_difference(pictures: Tensor, visible: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of `pictures` `[F, 3, H, W]` to each of `others` `[R, 3, H, W]`, `[F, R]`.

    Both are averaged over the `visible` pixels, bool `[F, 1, H, W]`, of each of 8 x 8 cells (fewer per side where 8 does
    not divide it); a cell weighs as many pixels as are visible in it.
    """
    import torch

    with torch.autocast(pictures.device.type, enabled=False):
        seen = _in_cells(visible.float())
        count = seen.sum(dim=-1)
        mine = (_in_cells(pictures.float()) * seen).sum(dim=-1) / count.clamp(min=1)
        theirs = torch.einsum("fkp,rckp->frck", seen[:, 0], _in_cells(others.float()))
        theirs = theirs / count.clamp(min=1).unsqueeze(1)
        squares = (theirs - mine.unsqueeze(1)).square() * count.unsqueeze(1)
        return squares.sum(dim=(2, 3)) / (pictures.shape[1] * count.sum(dim=(1, 2)).clamp(min=1)).unsqueeze(1)


def _differences(batch: Batch) -> Tensor:
    retain, forget = batch.views["retain"], batch.views["forget"]
    pictures, visible = shown(forget)
    return visible_difference(pictures, visible, _comparable(batch, retain))


def _comparable(batch: Batch, retain: View) -> Tensor:
    """Retain images in the form in which forget images are seen."""
    return retain.images if batch.corruption.hides else retain.corrupted.condition


def _in_cells(pictures: Tensor) -> Tensor:
    """`[B, C, H, W]` as `[B, C, cells, pixels of a cell]`."""
    count, channels, height, width = pictures.shape
    rows, columns = gcd(height, CELLS), gcd(width, CELLS)
    cells = pictures.reshape(count, channels, rows, height // rows, columns, width // columns)
    return cells.transpose(3, 4).reshape(count, channels, rows * columns, -1)


def _beside(weights: Tensor, feature: Tensor) -> Tensor:
    """Weights `[B]` in a shape that multiplies `feature` `[B, ...]`."""
    return weights.view(-1, *[1] * (feature.ndim - 1))
