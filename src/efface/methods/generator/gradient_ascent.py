"""`gradient-ascent`: undo training by climbing the model's own loss on the forget images.

Follows: the standard baseline (Golatkar et al., CVPR 2020, name it "NegGrad"; Thudi et al., EuroS&P 2022):
the whole model takes gradient steps that raise the task loss on forget images, without retain images.
Deviations: AdamW with clipping in place of plain SGD. The loss has no bound: it needs few, small steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import JsonValue

from efface.methods.base import OneLossMethod
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class GradientAscent(OneLossMethod):
    """Maximise the task loss on forget images."""

    name: ClassVar[str] = "gradient-ascent"
    summary: ClassVar[str] = "task loss up on forget images, no retain images; whole model"
    source: ClassVar[str] = "Golatkar et al., CVPR 2020; Thudi et al., EuroS&P 2022"
    deviations: ClassVar[str] = "AdamW with clipping in place of SGD"
    needs_retain: ClassVar[bool] = False
    trains: ClassVar[Trained] = "all"
    streams: ClassVar[tuple[str, ...]] = ("forget",)
    drives_away: ClassVar[bool] = True
    recommended: ClassVar[dict[str, JsonValue]] = {"steps": 50, "learning_rate": 1e-5, "weight_decay": 0.0}

    def loss(self, student: Generator, batch: Batch) -> Loss:
        forget = student.task_loss(batch.views["forget"]).mean()
        return Loss(-forget, {"forget": forget.detach()})
