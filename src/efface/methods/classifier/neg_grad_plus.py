"""`neg-grad-plus`: the loss of the retain images down, that of the forget images up, in one step.

Follows: the baseline NegGrad+ of Kurmanji et al., NeurIPS 2023, arXiv:2302.09880: `alpha CE(retain) - (1 - alpha)
CE(forget)`, 10 epochs of the retain images beside repeated forget images, SGD with a rate of 0.01, momentum 0.9, no weight
decay. The two batches go through the network one after the other.
Deviations: alpha is 0.95, as in their small runs (0.9999 in their study of membership); their drops of the rate begin
after the last epoch, so it is constant here. A later study (arXiv:2410.01276) keeps the model in evaluation mode: `mode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.training.losses import cross_entropy
from efface.training.passes import Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work


class NegGradPlus(ClassifierMethod):
    """Descend on the retain images and climb on the forget images at once."""

    alpha: float = Field(0.95, gt=0, le=1, description="weight of retaining; 1 - alpha is that of forgetting")
    epochs: float = Field(10, gt=0, description="passes over the retain images")
    learning_rate: float = Field(0.01, gt=0, description="learning rate of SGD, constant")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="retain images, and as many forget images, a step")
    mode: Literal["train", "eval"] = Field(
        "train", description="eval: statistics of batch normalisation stay as they are, and dropout is off"
    )

    name: ClassVar[str] = "neg-grad-plus"
    summary: ClassVar[str] = "the loss of the retain images goes down, that of the forget images up"
    source: ClassVar[str] = "baseline NegGrad+ of Kurmanji et al., NeurIPS 2023, arXiv:2302.09880"
    deviations: ClassVar[str] = "constant learning rate, since the published drops come after the last epoch"
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0.5, 0.999),
        "learning_rate": (1e-4, 0.1),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        streams = {"retain": self.batch_size, "forget": self.batch_size}
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        return [Pass("unlearn", self.loss, streams, optimiser, self.epochs, mode=self.mode)]

    def loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """`alpha CE(retain) - (1 - alpha) CE(forget)`."""
        retain, forget = (
            cross_entropy(work.model(batch.images), batch.labels)
            for batch in (batches["retain"], batches["forget"])
        )
        return self.alpha * retain - (1 - self.alpha) * forget
