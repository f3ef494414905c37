"""`cf-k`: the last k blocks are trained on with the retain images; all before them stays.

Follows: catastrophic forgetting of the last k layers, Goel et al., arXiv:2201.06640; blocks and steps as in the published
code of Kurmanji et al., arXiv:2302.09880: the last stage of a ResNet and its head (k = 2), 10 epochs, SGD with a rate of
0.01, momentum 0.9, batches of 64.
Deviations: k counts the blocks of the classifier, the head as the last. Blocks that do not train are in evaluation mode, so
that they do stay; the published code lets their batch statistics follow the images: `statistics`. The published drops of
the rate begin after the last epoch, so it is constant. The weight decay of 5e-4 is that of the other methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.training.passes import Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work

Statistics = Literal["frozen", "follow"]


class CfK(ClassifierMethod):
    """Train the last blocks on with the retain images."""

    k: int = Field(2, ge=1, description="how many blocks train, counted from the end; the head is the last")
    epochs: float = Field(10, gt=0, description="passes over the retain images")
    learning_rate: float = Field(0.01, gt=0, description="learning rate of SGD, constant")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")
    statistics: Statistics = Field(
        "frozen", description="of blocks that do not train: frozen, or follow: their batch statistics move"
    )

    name: ClassVar[str] = "cf-k"
    summary: ClassVar[str] = "the last k blocks are trained on with the retain images"
    source: ClassVar[str] = "Goel et al., arXiv:2201.06640"
    deviations: ClassVar[str] = "k counts blocks; batch statistics of blocks that do not train stay"
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-3, 0.3),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        whole = Pass("retain", labelled_loss, {"retain": self.batch_size}, optimiser, self.epochs)
        return [only_blocks(whole, last_blocks(facts, self.k, self.name), self.statistics)]


def last_blocks(facts: Facts, k: int, method: str) -> tuple[str, ...]:
    """Names of the last k blocks; raises `InputError` if there are fewer."""
    if k > len(facts.blocks):
        raise InputError(
            f"{method}: k is {k}, but the classifier has {len(facts.blocks)} blocks ({', '.join(facts.blocks)}); "
            "choose a smaller k"
        )
    return facts.blocks[-k:]


def only_blocks(one: Pass, blocks: tuple[str, ...], statistics: Statistics) -> Pass:
    """The same pass that trains these blocks alone, with the others in evaluation mode if their statistics are frozen."""

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        if statistics == "frozen":
            for block in work.model.blocks:
                if block not in blocks:
                    work.model.network.get_submodule(block).eval()
        return one.loss(work, batches)

    return replace(one, loss=loss, trained=lambda model: model.parameters_of(blocks))
