"""`l1-sparse`: fine-tuning with a penalty on the sum of all weights' magnitudes, which fades out.

Follows: sparsity-aware unlearning of Jia et al., NeurIPS 2023, arXiv:2304.04934: cross-entropy of the retain images plus
`alpha_t |weights|_1` over all parameters, with `alpha_t = alpha (1 - t / (T - T_0))` in epoch t = 0, 1, ... and none in the
last T_0; 10 epochs, SGD with a rate of 0.01, momentum 0.9, weight decay 5e-4, batches of 256.
Deviations: alpha is 5e-4, the size that is in use for CIFAR-10; in the published code it is a flag shared with other
methods whose default, 0.2, is far too large here. T_0 must be below T (the code then keeps alpha as it is).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.training.passes import Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work


class L1Sparse(ClassifierMethod):
    """Go on training with the retain images, towards small weights first."""

    alpha: float = Field(5e-4, ge=0, description="weight of the penalty in the first epoch; tune it")
    epochs: int = Field(10, ge=1, description="passes over the retain images")
    free_epochs: int = Field(0, ge=0, description="the last epochs, in which there is no penalty")
    learning_rate: float = Field(0.01, gt=0, description="learning rate of SGD, constant")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(256, ge=2, description="images a step")

    name: ClassVar[str] = "l1-sparse"
    summary: ClassVar[str] = "fine-tuning with a fading penalty on the magnitudes of the weights"
    source: ClassVar[str] = "Jia et al., NeurIPS 2023, arXiv:2304.04934"
    deviations: ClassVar[str] = (
        "alpha 5e-4, not the 0.2 of a flag that the published code shares among methods"
    )
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (1e-6, 1e-2),
        "learning_rate": (1e-3, 0.3),
        "epochs": (1, 10),
    }

    @model_validator(mode="after")
    def _some_epochs_with_penalty(self) -> Self:
        if self.free_epochs >= self.epochs:
            raise ValueError(f"free_epochs: {self.free_epochs} leaves none of {self.epochs} epochs a penalty")
        return self

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        streams = {"retain": self.batch_size}
        return [
            Pass(f"retain {epoch + 1}", partial(sparse_loss, self.penalty(epoch)), streams, optimiser)
            for epoch in range(self.epochs)
        ]

    def penalty(self, epoch: int) -> float:
        """Weight of the penalty in this epoch, counted from 0."""
        return self.alpha * max(0.0, 1 - epoch / (self.epochs - self.free_epochs))


def sparse_loss(alpha: float, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """Cross-entropy of the retain batch plus alpha times the sum of all weights' magnitudes."""
    loss = labelled_loss(work, batches)
    if alpha == 0:
        return loss
    return loss + alpha * sum(parameter.abs().sum() for parameter in work.model.network.parameters())
