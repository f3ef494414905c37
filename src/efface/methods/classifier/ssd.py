"""`ssd`: weights that matter more for the forget images than for all images are dampened. No training.

Follows: Foster, Schoepf and Brintrup, "Fast Machine Unlearning without Retraining through Selective Synaptic
Dampening" (AAAI 2024, arXiv:2308.07707), equations 4 and 5, with alpha 10 and lambda 1. The importance is that of its
published code: the mean over batches of 128 of the squared gradient of the batch's mean loss.
Deviations: the paper's importance is the diagonal of the Fisher information, one image at a time; `batch_size` 1 gives
it with the given labels. Batches are made in an order keyed by the images' ids, so the result does not depend on the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.importance import batch_importances
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.images.labelled import LabelledImages
    from efface.training.classification import Work

TRAIN = "retain and forget"


class Ssd(ClassifierMethod):
    """Dampen the weights on which the forget images lean most."""

    alpha: float = Field(
        10.0,
        gt=0,
        description="a weight is dampened if its importance for forget images is this many times that for all",
    )
    dampening: float = Field(
        1.0, gt=0, description="lambda: factor of the ratio of importances by which a weight is multiplied"
    )
    batch_size: int = Field(
        128, ge=1, description="images a gradient, of which the importance is the mean square"
    )

    name: ClassVar[str] = "ssd"
    summary: ClassVar[str] = "weights that matter more for forget images than for all are dampened"
    source: ClassVar[str] = "Foster et al., AAAI 2024, arXiv:2308.07707, equations 4 and 5"
    deviations: ClassVar[str] = (
        "batches in an order keyed by the images' ids; importances by batch, as in the code"
    )
    deterministic: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.5, 100), "dampening": (0.1, 5)}
    power: ClassVar[int] = 2
    """Of the gradient, in the importance."""

    def passes(self, facts: Facts) -> Passes:
        return [Edit("dampen", self.dampen)]

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        """All training images in one set, so that their batches mix retain and forget images."""
        return {TRAIN: sets["retain"].join(sets["forget"])}

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the importance is the gradient of."""
        return cross_entropy(logits, labels)

    def dampen(self, work: Work) -> None:
        """Multiply each chosen weight by lambda I / I_forget, at most 1."""
        of_all = batch_importances(work, TRAIN, self.batch_size, self.objective, self.power)
        of_forget = batch_importances(work, "forget", self.batch_size, self.objective, self.power)
        for name, weight in work.model.network.named_parameters():
            chosen = of_forget[name] > self.alpha * of_all[name]
            factor = (self.dampening * of_all[name][chosen] / of_forget[name][chosen]).clamp(max=1)
            weight[chosen] = weight[chosen] * factor
