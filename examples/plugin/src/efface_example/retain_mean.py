"""`retain-mean`: the features of every forget image are drawn to the mean features of the retain images beside it.

Follows: nobody; an example. Deviations: none; the form of the loss is that of Li et al., ICLR 2024, Eq. (10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import NORM, Norm, OneLossMethod, feature_distance, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator


class RetainMean(OneLossMethod):
    """L_R = |E(x_r) - E_0(x_r)|, L_F = |E(x_f) - mean E_0(x_r)|."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    norm: Norm = NORM

    name: ClassVar[str] = "retain-mean"
    summary: ClassVar[str] = "encoder drawn to the mean features of retain images on forget images"
    source: ClassVar[str] = "an example"
    deviations: ClassVar[str] = "none: it follows nobody"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            kept = student.encode(retain)
        features, count = student.encode(retain.join(forget)), len(retain)
        means = tuple(
            feature.mean(dim=0, keepdim=True).expand(len(forget), *feature.shape[1:]) for feature in kept
        )
        held = feature_distance(tuple(feature[:count] for feature in features), kept, self.norm)
        drawn = feature_distance(tuple(feature[count:] for feature in features), means, self.norm)
        return weighted(held.mean(), drawn.mean(), self.alpha)
