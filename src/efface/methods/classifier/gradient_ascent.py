"""`gradient-ascent` (NegGrad): a few steps that raise the cross-entropy of the forget images.

Follows: the baseline as Jia et al., arXiv:2304.04934, run it: 5 epochs of the forget images, SGD with a constant rate of
1e-4, momentum 0.9, weight decay 5e-4, batches of 256; after Golatkar et al., CVPR 2020, and Thudi et al., EuroS&P 2022.
Deviations: none known. The loss has no bound, so epochs and rate decide how far it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.training.losses import cross_entropy
from efface.training.passes import Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work


class GradientAscentClassifier(ClassifierMethod):
    """Climb the loss of the forget images."""

    epochs: float = Field(5, gt=0, description="passes over the forget images")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of SGD, constant")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(256, ge=2, description="images a step")

    name: ClassVar[str] = "gradient-ascent"
    summary: ClassVar[str] = "the loss of the forget images is raised; retain images are not used"
    source: ClassVar[str] = "baseline of Jia et al., NeurIPS 2023, arXiv:2304.04934"
    needs_retain: ClassVar[bool] = False
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-6, 1e-2),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        return [Pass("forget", ascent, {"forget": self.batch_size}, optimiser, self.epochs)]


def ascent(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """Minus the cross-entropy of the forget batch."""
    batch = batches["forget"]
    return -cross_entropy(work.model(batch.images), batch.labels)
