"""`fine-tune`: go on training on retain images alone and let the rest fade.

Follows: the standard baseline (for instance Golatkar et al., CVPR 2020): the model's own training, continued
without the forget images. Deviations: none known; with a masked autoencoder the corruption is the model's own
training mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from efface.methods.base import GeneratorMethod
from efface.training.phases import Batch, Loss, Phase, Training

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class FineTune(GeneratorMethod):
    """Minimise the task loss on retain images."""

    name: ClassVar[str] = "fine-tune"
    summary: ClassVar[str] = "training continued on retain images only; whole model"
    source: ClassVar[str] = "standard baseline, for instance Golatkar et al., CVPR 2020"
    needs_forget: ClassVar[bool] = False
    trains: ClassVar[Trained] = "all"

    def phases(self) -> list[Phase]:
        return [Training("fine-tune", task_loss_on_retain, ("retain",), "all")]


def task_loss_on_retain(student: Generator, batch: Batch) -> Loss:
    """The model's own training loss, mean over the batch's retain images."""
    retain = student.task_loss(batch.views["retain"]).mean()
    return Loss(retain, {"retain": retain.detach()})
