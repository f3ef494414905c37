"""`retain-label`: forget images are to be completed as the original completes retain images.

Follows: the baseline "Retain Label" of Li et al., ICLR 2024 (arXiv 2402.00351): the whole model distils the
original's outputs, its own for retain images, those of the batch's retain images for forget images.
Deviations: the released VQ-GAN version weighs the forget term with the retain indicator and so never
touches the forget images; here the term is applied to them, as the definition says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import OneLossMethod, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class RetainLabel(OneLossMethod):
    """Distil the original's outputs; forget image i is given those of retain image i of the batch."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "retain-label"
    summary: ClassVar[str] = "the original's outputs on retain images as targets for both; whole model"
    source: ClassVar[str] = "baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "the sign error of the released VQ-GAN version is not reproduced"
    trains: ClassVar[Trained] = "all"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            outputs = student.predict(retain)
        both = retain.join(forget)
        tiles = -(-len(both) // len(retain))
        targets = outputs.repeat(tiles, *[1] * (outputs.ndim - 1))[: len(both)]
        losses = student.prediction_loss(student.predict(both), targets, both)
        return weighted(losses[: len(retain)].mean(), losses[len(retain) :].mean(), self.alpha)
