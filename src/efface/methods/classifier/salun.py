"""`salun`: random labels on the forget images, with only the weights free that matter most for them.

Follows: Fan et al., ICLR 2024, arXiv:2310.12508: a weight is free if the magnitude of the gradient of the forget images'
cross-entropy, at the original, is among the top half of all weights; the others keep their values exactly. Then training
as in `random-labels`: 10 epochs, SGD with a rate of 0.013, momentum 0.9, weight decay 5e-4, batches of 256 (published for
ResNet-18 and a tenth of CIFAR-10), each epoch first the forget and then the retain images, with new labels in each.
Deviations: the drawn label is never the true one, as in the paper (the published code draws among all: `wrong`). The mask
is that of the gradient at the original, where the published code takes optimizer steps while it adds up. Statistics of
batch normalisation are no weights and move freely, as in the published code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.random_labels import RandomLabels
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Pass, Passes

if TYPE_CHECKING:
    from efface.training.classification import Work


class SalUn(RandomLabels):
    """Train on with random labels, moving the salient weights alone."""

    share: float = Field(0.5, gt=0, le=1, description="share of all weights that are free")
    epochs: int = Field(10, ge=1, description="passes over forget and retain images")
    optimizer: Literal["adam", "sgd"] = Field("sgd", description="sgd has a momentum of 0.9")
    learning_rate: float = Field(0.013, gt=0, description="learning rate, constant")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(256, ge=2, description="images a step")
    redraw: bool = Field(True, description="draw new labels in each epoch; false: once")
    order: Literal["mixed", "forget-first"] = Field(
        "forget-first",
        description="first the forget and then the retain images, or all shuffled together (as for CIFAR-100)",
    )

    name: ClassVar[str] = "salun"
    summary: ClassVar[str] = (
        "random labels, with only the weights free that matter most for the forget images"
    )
    source: ClassVar[str] = "Fan et al., ICLR 2024, arXiv:2310.12508"
    deviations: ClassVar[str] = "the mask is taken at the original, with no steps in between"
    needs_original: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-4, 0.1),
        "share": (0.05, 1.0),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        plan = [
            replace(one, after_step=restore) if isinstance(one, Pass) else one
            for one in super().passes(facts)
        ]
        return [Edit("mask", self.choose), *plan]

    def choose(self, work: Work) -> None:
        """Keep in memory which weights are free: those with the largest gradients; of equals, the first."""
        import torch

        parameters = dict(work.model.network.named_parameters())
        count = len(work.sets["forget"])
        with torch.enable_grad():
            for batch in work.batches("forget", self.batch_size):
                loss = cross_entropy(work.model(batch.images), batch.labels) * (len(batch) / count)
                loss.backward()
        sizes = torch.cat(
            [
                (torch.zeros_like(one) if one.grad is None else one.grad.abs()).flatten()
                for one in parameters.values()
            ]
        )
        work.model.zero_grad(set_to_none=True)
        free = torch.zeros_like(sizes, dtype=torch.bool)
        free[sizes.argsort(descending=True, stable=True)[: int(self.share * len(sizes))]] = True
        parts = free.split([one.numel() for one in parameters.values()])
        for (name, one), part in zip(parameters.items(), parts, strict=True):
            work.memory[_key(name)] = part.view_as(one).clone()


def restore(work: Work) -> None:
    """Give the weights that are not free their original values, which momentum and weight decay would move too."""
    originals = dict(work.original_model.network.named_parameters())
    for name, parameter in work.model.network.named_parameters():
        parameter.copy_(parameter.where(work.memory[_key(name)], originals[name]))


def _key(name: str) -> str:
    return f"free {name}"
