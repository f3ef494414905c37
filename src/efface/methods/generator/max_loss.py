"""`max-loss`: train on retain images, and against the model's own loss on forget images.

Follows: the baseline "Max Loss" of Li et al., ICLR 2024 (arXiv 2402.00351), in which the whole model is
trained on `retain loss - alpha * forget loss`, as released. Deviations: retain and forget images in equal numbers; the
release has no masked autoencoder, whose loss is its own.
The forget term has no lower bound: gradients are clipped and the step count decides how far it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import OneLossMethod, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class MaxLoss(OneLossMethod):
    """Minimise the task loss on retain images minus alpha times that on forget images."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "max-loss"
    summary: ClassVar[str] = "task loss down on retain, up on forget images; whole model"
    source: ClassVar[str] = "baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "balanced batches"
    deviations_of: ClassVar[Mapping[str, str]] = {"mae": "the form for masked autoencoders is ours"}
    trains: ClassVar[Trained] = "all"
    drives_away: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        both = retain.join(forget)
        losses = student.released_loss(student.predict(both), student.task_target(both), both)
        return weighted(losses[: len(retain)].mean(), -losses[len(retain) :].mean(), self.alpha)
