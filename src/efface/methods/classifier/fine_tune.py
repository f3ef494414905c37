"""`fine-tune`: training goes on with the retain images alone.

Follows: the baseline of the competition's starting kit (arXiv:2406.09073): 5 epochs, SGD with a rate of 0.1, momentum
0.9, weight decay 5e-4, half a cosine.
Deviations: the default rate is 0.01 (Jia et al., arXiv:2304.04934, train so); 0.1 is far above what models trained with
other recipes bear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.training.passes import Facts, Optimiser, Pass, Passes, cosine


class FineTuneClassifier(ClassifierMethod):
    """Go on training with the retain images."""

    epochs: float = Field(5, gt=0, description="passes over the retain images")
    learning_rate: float = Field(0.01, gt=0, description="peak learning rate of SGD")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "fine-tune"
    summary: ClassVar[str] = "training goes on with the retain images alone"
    source: ClassVar[str] = "starting kit of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = "learning rate 0.01, not 0.1"
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-3, 0.3),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        return [Pass("retain", labelled_loss, {"retain": self.batch_size}, optimiser, self.epochs, cosine())]
