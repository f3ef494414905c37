"""`random-mask`: a random part of the weights becomes zero, then training goes on with the retain images.

Follows: Random mask, an entry to the competition (arXiv:2406.09073) with a private score of 0.0937, of which its author
says that a random part of all weights but those of batch normalisation is masked, and then fine-tuned.
Deviations: the published share, learning rate and epochs are not known to us. The defaults are chosen here as those of
`kookmin`, the nearest relative: 30 % of each tensor, five epochs, a rate of 0.001, which falls here on half a cosine.
Whether masked weights stay at zero is not known either; here they are trained like all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.methods.classifier.layers import normalisation_tensors
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, cosine

if TYPE_CHECKING:
    from efface.training.classification import Work


class RandomMask(ClassifierMethod):
    """Set weights to zero by chance, and learn the retain images again."""

    share: float = Field(
        0.3, gt=0, le=1, description="share of each tensor that becomes zero (not published)"
    )
    epochs: float = Field(5, gt=0, description="epochs on the retain images (not published)")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate (not published)")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "random-mask"
    summary: ClassVar[str] = (
        "a random part of the weights becomes zero, then training goes on with the retain images"
    )
    source: ClassVar[str] = "Random mask, an entry to the competition of arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "share, epochs and learning rate are chosen here: the published ones are not known"
    )
    needs_forget: ClassVar[bool] = False
    competition: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "share": (0.01, 0.9),
        "learning_rate": (1e-4, 1e-1),
        "epochs": (1, 10),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        train = Pass("retain", labelled_loss, {"retain": self.batch_size}, optimiser, self.epochs, cosine())
        return [Edit("mask", self.mask), train]

    def mask(self, work: Work) -> None:
        """Set `round(share * count)` values of each tensor outside normalisation to zero."""
        import torch

        kept = normalisation_tensors(work.model)
        for name, parameter in work.model.network.named_parameters():
            if name not in kept:
                count, draws = parameter.numel(), work.draws(self.name, name)
                order = torch.randperm(count, generator=draws, device=parameter.device)
                masked = torch.zeros(count, dtype=torch.bool, device=parameter.device)
                masked[order[: round(self.share * count)]] = True
                parameter.masked_fill_(masked.view_as(parameter), 0.0)
