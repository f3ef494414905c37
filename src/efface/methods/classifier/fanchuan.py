"""`fanchuan`: forget images towards no opinion, then away from retain images, and the retain images learnt in between.

Follows: Fanchuan, a winner of the competition (arXiv:2406.09073), with the settings of its notebook as ported in
github.com/xcadet/deepunlearn (arXiv:2410.01276): KL(uniform || prediction) over the forget images once; then eight
rounds of a contrastive pass over the forget images and one epoch of cross-entropy on the retain images. Each of the
three has an optimizer of its own, whose momentum lasts over all rounds.
Deviations: the paper says that the contrastive loss is ascended. The code descends the mean of -log softmax over all
pairs, which makes a forget image alike to all retain images; the competition's score is the code's, and so is this.
Retain batches are of 256, as in the port; another public copy has 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.training.losses import kl_to_uniform
from efface.training.passes import Facts, Optimiser, Pass, Passes, cosine

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work

LEAST_RATE = 1e-6
"""Where the cosine of the contrastive passes ends."""
REFERENCE_BATCH = 64
"""The batch size that the retain epochs' learning rate is meant for."""


class Fanchuan(ClassifierMethod):
    """Make forget images mean nothing, and repair with the retain images."""

    rounds: int = Field(8, ge=1, description="rounds of a contrastive pass and a retain epoch")
    uniform_learning_rate: float = Field(
        5e-3, gt=0, description="learning rate towards the uniform prediction"
    )
    contrast_learning_rate: float = Field(
        3e-4,
        ge=LEAST_RATE,
        description=f"peak learning rate of the contrastive passes, which ends at {LEAST_RATE}",
    )
    retain_learning_rate: float = Field(
        1e-3,
        gt=0,
        description=f"learning rate of the retain epochs for each {REFERENCE_BATCH} images of a batch",
    )
    retain_weight_decay: float = Field(
        1e-2, ge=0, description="weight decay of the retain epochs; the others have none"
    )
    temperature: float = Field(1.15, gt=0, description="what similarities are divided by")
    batch_size: int = Field(64, ge=2, description="forget images a step")
    retain_batch_size: int = Field(
        256, ge=2, description="retain images a step, beside forget images and alone"
    )

    name: ClassVar[str] = "fanchuan"
    summary: ClassVar[str] = (
        "forget images towards no opinion and away from retain images, repaired in rounds"
    )
    source: ClassVar[str] = "Fanchuan, a winner of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "descends the contrastive loss, as the published code does; the paper says ascent"
    )
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "uniform_learning_rate": (5e-4, 5e-2),
        "contrast_learning_rate": (3e-5, 3e-3),
        "retain_learning_rate": (1e-4, 1e-2),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.uniform_learning_rate, weight_decay=0, name="uniform")
        passes = [Pass("uniform", uniform_loss, {"forget": self.batch_size}, optimiser)]
        for number in range(self.rounds):
            passes += [self._contrastive(number), self._repairing(number)]
        return passes

    def contrastive_loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Mean over all pairs of -log of the softmax, over the retain images, of the logits' similarities."""
        import torch

        with torch.no_grad():
            retain = work.model(batches["retain"].images)
        forget: Tensor = work.model(batches["forget"].images)
        similarities: Tensor = forget @ retain.T / self.temperature
        return -similarities.log_softmax(1).mean()

    def _contrastive(self, number: int) -> Pass:
        return Pass(
            f"contrast {number + 1}",
            self.contrastive_loss,
            {"forget": self.batch_size, "retain": self.retain_batch_size},
            Optimiser(self.contrast_learning_rate, weight_decay=0, name="contrast"),
            schedule=cosine(LEAST_RATE / self.contrast_learning_rate, number, self.rounds),
        )

    def _repairing(self, number: int) -> Pass:
        rate = self.retain_learning_rate * self.retain_batch_size / REFERENCE_BATCH
        optimiser = Optimiser(rate, self.retain_weight_decay, name="retain")
        return Pass(f"retain {number + 1}", labelled_loss, {"retain": self.retain_batch_size}, optimiser)


def uniform_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """KL(uniform || prediction) on the forget batch."""
    return kl_to_uniform(work.model(batches["forget"].images))
