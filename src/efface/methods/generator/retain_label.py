"""`retain-label`: forget images are to be completed as the original completes retain images.

Follows: the baseline "Retain Label" of Li et al., ICLR 2024 (arXiv 2402.00351), as released: the whole model distils all of
the original's outputs by their mean squares, its own for retain images, those of the batch's retain images for forget
images. Deviations: retain and forget images in equal numbers; families without a release compare what is hidden, as
`retain-answer` does. Two faults of the released VQ-GAN version are not reproduced: it weighs the forget term with the
retain indicator, and so never touches forget images; and it takes every picture with a label above 0 for one to retain, so
that forget images are given outputs of forget images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import OneLossMethod, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, Trained


class RetainLabel(OneLossMethod):
    """Distil the original's outputs; forget image i is given those of retain image i of the batch."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "retain-label"
    summary: ClassVar[str] = "the original's outputs on retain images as targets for both; whole model"
    source: ClassVar[str] = "baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "balanced batches"
    deviations_of: ClassVar[Mapping[str, str]] = {"mage": "two faults of the release are not reproduced"}
    trains: ClassVar[Trained] = "all"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            outputs = student.output(retain)
        both = retain.join(forget)
        losses = student.output_loss(student.output(both), tiled(outputs, len(both)), both)
        return weighted(losses[: len(retain)].mean(), losses[len(retain) :].mean(), self.alpha)


def tiled(outputs: Tensor, count: int) -> Tensor:
    """`outputs` `[R, ...]` one behind the other until there are `count` of them."""
    copies = -(-count // len(outputs))
    return outputs.repeat(copies, *[1] * (outputs.ndim - 1))[:count]
