"""`decouple`: forget images are driven out of the distribution by ascent, then the rest is trained again.

Follows: Varshney and Torra, "Realistic Image-to-Image Machine Unlearning via Decoupling and Knowledge Retention"
(arXiv 2502.04260; Big Data Research 2026): ascent on the forget images' loss until the distance of the model's outputs
to the original's reaches a threshold, then training on the remaining images.
Deviations: the paper's threshold, steps and rates are not known to us; distance is the model's own loss between both
predictions, in units of the original's loss on the same images; AdamW with clipping; no noise is added, so the paper's
guarantee for the ascent is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, JsonValue

from efface.methods.base import GeneratorMethod
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.training.phases import Batch, Loss, Phase, Training

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained

LEAST_LOSS = 1e-12
"""Of the original on forget images: a smaller one counts as this."""


class Decouple(GeneratorMethod):
    """Maximise the task loss on forget images up to a threshold, then minimise it on retain images."""

    threshold: float = Field(
        1.0,
        gt=0,
        description="where ascent ends: loss between the model's and the original's predictions, in units of the "
        "original's loss on the same images; 1: as far from the original as that is from the truth",
    )
    ascent: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the steps that ascent may take at most; retaining takes the rest",
    )

    name: ClassVar[str] = "decouple"
    summary: ClassVar[str] = "ascent until forget images are out of distribution, then retain images"
    source: ClassVar[str] = "Varshney and Torra, arXiv 2502.04260"
    deviations: ClassVar[str] = "threshold in units of the original's loss; no noise and no guarantee"
    trains: ClassVar[Trained] = "all"
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True
    recommended: ClassVar[dict[str, JsonValue]] = {"learning_rate": 1e-5, "weight_decay": 0.0}

    def phases(self) -> list[Phase]:
        return [
            Training("decouple", self.climb, ("forget",), "all", True, share=self.ascent, until=self.is_out),
            Training("retain", task_loss_on_retain, ("retain",), "all", share=1 - self.ascent),
        ]

    def climb(self, student: Generator, batch: Batch) -> Loss:
        """Minus the task loss on forget images, and how far their predictions have moved."""
        forget = batch.views["forget"]
        target = student.task_target(forget)
        with student.teacher():
            before = student.predict(forget)
            own = student.prediction_loss(before, target, forget).mean()
        prediction = student.predict(forget)
        loss = student.prediction_loss(prediction, target, forget).mean()
        distance = student.prediction_loss(prediction.detach(), before, forget).mean()
        moved = batch.mean_over_processes(distance) / batch.mean_over_processes(own).clamp(min=LEAST_LOSS)
        return Loss(-loss, {"forget": loss.detach()}, numbers={"moved": moved})

    def is_out(self, numbers: Mapping[str, float]) -> bool:
        """Whether forget images count as out of distribution."""
        return numbers["moved"] >= self.threshold
