"""`retain-answer`: what is hidden of forget images is to be filled as the original fills retain images.

Follows: ours, after the baseline "Retain Label" of Li et al., ICLR 2024 (arXiv 2402.00351). There all outputs are compared,
known and hidden ones alike, by their squares (`retain-label`); here only predictions of what is hidden, by the model's own
loss: the squared error of a hole, the divergence between the tokens' probabilities. Deviations: none; the method is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import OneLossMethod, weighted
from efface.methods.generator.retain_label import tiled
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class RetainAnswer(OneLossMethod):
    """Distil the original's predictions; forget image i is given those of retain image i of the batch."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "retain-answer"
    summary: ClassVar[str] = "the original's predictions on retain images as targets for both; whole model"
    source: ClassVar[str] = "ours; after a baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "none: the method is ours"
    trains: ClassVar[Trained] = "all"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            predictions = student.predict(retain)
        both = retain.join(forget)
        losses = student.prediction_loss(student.predict(both), tiled(predictions, len(both)), both)
        return weighted(losses[: len(retain)].mean(), losses[len(retain) :].mean(), self.alpha)
