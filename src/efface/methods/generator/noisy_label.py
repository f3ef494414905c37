"""`noisy-label`: forget images are given noise as their training target.

Follows: the baseline "Noisy Label" of Li et al., ICLR 2024 (arXiv 2402.00351), as released: the whole model is trained on
the retain task loss plus alpha times the loss towards noise. What noise is asked of is the family's (`noisy_label`): a
diffusion model is fed noise in the hole and asked for that same noise; a token model is asked for rounded Gaussian
numbers. Deviations: retain and forget images in equal numbers; the release has no masked autoencoder, whose target is
that of a picture of N(0, I), as in `fresh-noise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import OneLossMethod, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class NoisyLabel(OneLossMethod):
    """Minimise the released task loss on retain images plus alpha times that to noise on forget images."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "noisy-label"
    summary: ClassVar[str] = "task loss on retain, noise asked of forget images; whole model"
    source: ClassVar[str] = "baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "balanced batches"
    deviations_of: ClassVar[Mapping[str, str]] = {"mae": "the form for masked autoencoders is ours"}
    trains: ClassVar[Trained] = "all"
    drives_away: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        fed, noise = student.noisy_label(retain, forget, batch.moments)
        both = retain.join(fed)
        target = student.task_target(both)
        target[len(retain) :] = noise
        losses = student.released_loss(student.predict(both), target, both)
        return weighted(losses[: len(retain)].mean(), losses[len(retain) :].mean(), self.alpha)
