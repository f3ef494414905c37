"""`woodfisher`: one step against the influence of the forget images, with the inverse Fisher matrix. No training.

Follows: influence unlearning as in Jia et al., "Model Sparsity Can Simplify Machine Unlearning" (NeurIPS 2023,
arXiv:2304.04934) and its published code: theta + alpha F^-1 v, where v is n_f / n times the difference of the mean
gradients on forget and retain images, and F = damping + mean of g g^T over 1,000 retain images. F^-1 v is built up image
by image as in Singh and Alistarh, "WoodFisher" (NeurIPS 2020, arXiv:2004.14340).
Deviations: the default `recursion` is that of the published code, because all known results come from it: it keeps one
vector where the paper needs one for each image, skips the first image, and so is no inverse of F unless all gradients
are alike; `exact` is the paper's. The mean is over the images taken, of which there may be fewer than the code's fixed
1,000, and they are chosen by their ids, not by their place in the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.importance import gradient, settled_order
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Passes, spans

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work

EXACT_NUMBERS = 2**30
"""Numbers that the exact recursion may hold: 4 GiB."""


class WoodFisher(ClassifierMethod):
    """Step against the influence of the forget images."""

    alpha: float = Field(0.2, gt=0, description="length of the step")
    images: int = Field(1000, ge=2, description="retain images for the Fisher matrix, at most")
    damping: float = Field(1.0, gt=0, description="what is added to the diagonal of the Fisher matrix")
    recursion: Literal["published", "exact"] = Field(
        "published",
        description="published: the code's, with one vector; exact: the paper's, with one for each image",
    )
    batch_size: int = Field(
        256, ge=1, description="images a step of the mean gradients; without effect on the result"
    )

    name: ClassVar[str] = "woodfisher"
    summary: ClassVar[str] = "one step against the forget images' influence, by the inverse Fisher matrix"
    source: ClassVar[str] = (
        "Jia et al., NeurIPS 2023, arXiv:2304.04934; Singh and Alistarh, NeurIPS 2020, arXiv:2004.14340"
    )
    deviations: ClassVar[str] = (
        "the code's recursion by default, the paper's as a setting; images chosen by their ids; mean over those taken"
    )
    deterministic: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.1, 100)}

    def passes(self, facts: Facts) -> Passes:
        return [Edit("step", self.step)]

    def step(self, work: Work) -> None:
        """Add alpha F^-1 v to the weights."""
        order = settled_order(work.sets["retain"])[: self.images]
        size = sum(weight.numel() for weight in work.model.network.parameters())
        if self.recursion == "exact" and size * len(order) > EXACT_NUMBERS:
            raise InputError(
                f"woodfisher: the exact recursion keeps {len(order)} vectors of {size} weights, more than 4 GiB; choose "
                f"images: {max(2, EXACT_NUMBERS // size)} or fewer, or recursion: published"
            )
        forget, retain = (self.mean_gradient(work, stream) for stream in ("forget", "retain"))
        count = len(work.sets["forget"])
        vector = (forget - retain) * (count / (count + len(work.sets["retain"])))
        gradients = (
            _flat(work, work.batch("retain", order[place : place + 1])) for place in range(len(order))
        )
        solve = exact_inverse if self.recursion == "exact" else published_inverse
        moved = self.alpha * solve(vector, gradients, len(order), self.damping)
        at = 0
        for weight in work.model.network.parameters():
            weight.add_(moved[at : at + weight.numel()].view_as(weight))
            at += weight.numel()

    def mean_gradient(self, work: Work, stream: str) -> Tensor:
        """Mean over a set of the gradients of the loss, `[weights]`."""
        import numpy as np

        count = len(work.sets[stream])
        places = np.arange(count)
        parts = [
            _flat(work, work.batch(stream, places[a:b])) * ((b - a) / count)
            for a, b in spans(count, self.batch_size)
        ]
        return sum(parts[1:], parts[0])


def exact_inverse(vector: Tensor, gradients: Iterable[Tensor], count: int, damping: float) -> Tensor:
    """(damping I + 1 / count sum g g^T)^-1 vector, exact, by one rank-one update for each of `count` gradients."""
    solved = vector / damping
    directions, scales = vector.new_zeros(count, len(vector)), vector.new_zeros(count)
    for number, g in enumerate(gradients):
        seen = directions[:number]
        direction = g / damping - seen.T @ ((seen @ g) / scales[:number])
        directions[number], scales[number] = direction, count + g @ direction
        solved = solved - direction * ((g @ solved) / scales[number])
    return solved


def published_inverse(vector: Tensor, gradients: Iterable[Tensor], count: int, damping: float) -> Tensor:
    """The recursion of the published code: the first gradient's direction stands for those of all."""
    solved, direction = vector / damping, None
    for g in gradients:
        if direction is None:
            direction = g / damping
            continue
        along = direction @ g
        solved = solved - direction * ((g @ solved) / (count + along))
        direction = direction - direction * (along / (count + along))
    return solved


def _flat(work: Work, batch: Labelled) -> Tensor:
    import torch

    return torch.cat([part.flatten() for part in gradient(work, batch, cross_entropy).values()])
