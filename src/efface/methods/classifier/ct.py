"""`ct`: the kernels of all convolutions are transposed, then training goes on with the retain images.

Follows: convolution transpose, an entry to the competition (arXiv:2406.09073, which does not have it among its seven
methods), with the settings of its notebook as ported in github.com/xcadet/deepunlearn (arXiv:2410.01276): height and
width of every kernel change places; three epochs on the retain images, the rate on a cosine by the epoch.
Deviations: kernels that are not square stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.methods.classifier.layers import convolution_weights
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, cosine

if TYPE_CHECKING:
    from efface.training.classification import Work


class Ct(ClassifierMethod):
    """Transpose all kernels, and learn the retain images again."""

    epochs: int = Field(3, ge=1, description="epochs on the retain images")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of the first epoch")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "ct"
    summary: ClassVar[str] = "all kernels are transposed, then training goes on with the retain images"
    source: ClassVar[str] = (
        "Convolution transpose, an entry to the competition, as ported in arXiv:2410.01276"
    )
    deviations: ClassVar[str] = "kernels that are not square stay as they are"
    needs_forget: ClassVar[bool] = False
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"learning_rate": (1e-4, 1e-1)}

    def passes(self, facts: Facts) -> Passes:
        return [Edit("transpose", self.transpose), *(self._epoch(number) for number in range(self.epochs))]

    def transpose(self, work: Work) -> None:
        """Let height and width of each square kernel change places."""
        weights = convolution_weights(work.model, self.name)
        square = [weight for weight in weights.values() if weight.shape[2] == weight.shape[3] > 1]
        if not square:
            raise InputError(
                f"{self.name}: no convolution has a square kernel above 1x1; choose another method"
            )
        for weight in square:
            weight.copy_(weight.transpose(2, 3).clone())

    def _epoch(self, number: int) -> Pass:
        optimiser = Optimiser(self.learning_rate * cosine()(number / self.epochs), self.weight_decay)
        return Pass(f"retain {number + 1}", labelled_loss, {"retain": self.batch_size}, optimiser)
