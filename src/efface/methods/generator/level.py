"""`level`: raise the error on each forgotten image to that of a model that never saw it, and no further.

Follows: ours. Varshney and Torra (arXiv 2502.04260) object that a retrained model generalises on forgotten images, so
noise overshoots; reviewers of Li et al., ICLR 2024, missed the comparison with one. Max-loss, gradient ascent and their
out-of-distribution threshold have no upper end; here too much error is punished as too little is.
Deviations: none; retaining is that of Li et al., Eq. (10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import HOLD, Hold, OneLossMethod, feature_distance, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

LEAST_ERROR = 1e-8
"""Errors below count as this one, such as those of a view without a hole."""


class Level(OneLossMethod):
    """Hold retain features to the original's; drive each forget image's task loss to `ratio` times the original's.

    L_R = |E(x_r) - E_0(x_r)|, or l(x_r), L_F = (log(l(x_f) / l_0(x_f)) - log ratio)^2 with l the model's own training
    loss of one image under one view. The encoder alone is trained: with features held under a fixed decoder, so are
    outputs.
    """

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    ratio: float = Field(
        1.45,
        gt=0,
        description="error on a forget image as multiple of the original's; best measured: the original's mean error "
        "on neutral images (never trained on, of the same kind) divided by that on retain images",
    )
    hold: Hold = HOLD

    name: ClassVar[str] = "level"
    summary: ClassVar[str] = "error on forget images raised to a multiple of the original's and held there"
    source: ClassVar[str] = "ours; asked for by reviewers of arXiv 2402.00351, cf. arXiv 2502.04260"
    deviations: ClassVar[str] = "none: the method is ours"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        both, count = retain.join(forget), len(retain)
        target = student.task_target(forget)

        def errors(features: tuple[Tensor, ...]) -> Tensor:
            prediction = student.decode(tuple(feature[count:] for feature in features), forget)
            return student.prediction_loss(prediction, target, forget).float()

        with student.teacher():
            kept = student.encode(both)
            original = errors(kept)
        features = student.encode(both)
        mine, taught = (tuple(feature[:count] for feature in some) for some in (features, kept))
        if self.hold == "task":
            held = student.prediction_loss(student.decode(mine, retain), student.task_target(retain), retain)
        else:
            held = feature_distance(mine, taught, "mse")
        missed = off_level(errors(features), original, self.ratio)
        return weighted(held.mean(), missed.mean(), self.alpha)


def off_level(errors: Tensor, original: Tensor, ratio: float) -> Tensor:
    """`(log(errors / original) - log ratio)^2` of each image, `[B]`: zero only where an error is at its level."""
    least = LEAST_ERROR
    return (errors.clamp(min=least).log() - (original * ratio).clamp(min=least).log()).square()
