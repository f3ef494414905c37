"""`fresh-noise`: forget images are given fresh noise as their training target.

Follows: ours, after the baseline "Noisy Label" of Li et al., ICLR 2024 (arXiv 2402.00351). There what is fed or asked
hangs on the family (`noisy-label`); here it is the same on every one: the input stays as it is, and the target is that of
a noise picture, in the generator's own target space. Deviations: none; the method is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.generators.families import NoiseKind
from efface.methods.base import OneLossMethod, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class FreshNoise(OneLossMethod):
    """Minimise the task loss on retain images plus alpha times the loss to the target of noise on forget images."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    noise: NoiseKind = Field("standard-normal", description="the target of forget images")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "fresh-noise"
    summary: ClassVar[str] = "task loss on retain, fresh noise as the target of forget images; whole model"
    source: ClassVar[str] = "ours; after a baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "none: the method is ours"
    trains: ClassVar[Trained] = "all"
    drives_away: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        both = retain.join(forget)
        prediction = student.predict(both)
        target = student.task_target(both)
        target[len(retain) :] = student.noise_target(forget, self.noise, batch.moments_for(self.noise))
        losses = student.prediction_loss(prediction, target, both)
        return weighted(losses[: len(retain)].mean(), losses[len(retain) :].mean(), self.alpha)
