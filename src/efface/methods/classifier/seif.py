"""`seif`: noise on the stem's convolution, then training on the retain images with a rate by their classes.

Follows: Seif, a winner of the competition (arXiv:2406.09073), with the settings of its notebook as ported in
github.com/xcadet/deepunlearn (arXiv:2410.01276): noise of deviation 0.6; four epochs on the retain images, the rate on
a cosine by the epoch; before the last of them once more noise, of deviation 0.005. The loss of a batch is its mean
cross-entropy times the mean of its images' class weights: 1 for the majority class, 0.05 for all others. That is a
learning rate that follows how many images of the majority class a batch holds.
Deviations: the paper speaks of noise on convolution weights; the code reaches only those that are children of the
network itself, and of a ResNet-18 that is the stem. The competition's score is the code's, and so is the default
(`noised`); the stem is the first convolution here. The majority class, class 0 there, is found by counting the
training images (forget and retain); of equal ones it is the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.methods.classifier.layers import convolution_weights
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, cosine

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Labelled, Work

CLASS_WEIGHTS = "seif class weights"


class Seif(ClassifierMethod):
    """Disturb the convolutions, and repair them mostly where the majority class is at hand."""

    noise: float = Field(0.6, ge=0, description="deviation of the first noise on convolution weights")
    late_noise: float = Field(0.005, ge=0, description="deviation of the noise before the last epoch")
    noised: Literal["stem", "all"] = Field(
        "stem", description="stem: the first convolution alone; all: each of them"
    )
    other_weight: float = Field(
        0.05, ge=0, description="weight of the classes that are not the majority, which has 1"
    )
    epochs: int = Field(4, ge=2, description="epochs on the retain images")
    learning_rate: float = Field(7e-4, gt=0, description="learning rate of the first epoch")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "seif"
    summary: ClassVar[str] = (
        "noise on the stem's convolution, then retain images with a rate by their classes"
    )
    source: ClassVar[str] = "Seif, a winner of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "the majority class is found by counting; only the stem is noised, as in the code"
    )
    needs_forget: ClassVar[bool] = False
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "noise": (0.01, 2),
        "learning_rate": (7e-5, 7e-2),
        "other_weight": (0.01, 1),
    }

    def passes(self, facts: Facts) -> Passes:
        epochs = [self._epoch(number) for number in range(self.epochs)]
        return [Edit("noise", self.disturb), *epochs[:-1], Edit("late noise", self.disturb_again), epochs[-1]]

    def disturb(self, work: Work) -> None:
        """Count the classes, and add the first noise."""
        self._add_noise(work, self.noise, "first")
        counts = work.class_counts()
        weights = counts.new_full(counts.shape, 1).float() * self.other_weight
        weights[(counts == counts.max()).nonzero()[0]] = 1.0
        work.memory[CLASS_WEIGHTS] = weights

    def disturb_again(self, work: Work) -> None:
        """Add the late noise."""
        self._add_noise(work, self.late_noise, "late")

    def loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Mean cross-entropy of the batch times its mean class weight."""
        return labelled_loss(work, batches) * work.memory[CLASS_WEIGHTS][batches["retain"].labels].mean()

    def _epoch(self, number: int) -> Pass:
        optimiser = Optimiser(self.learning_rate * cosine()(number / self.epochs), self.weight_decay)
        return Pass(f"retain {number + 1}", self.loss, {"retain": self.batch_size}, optimiser)

    def _add_noise(self, work: Work, deviation: float, when: str) -> None:
        weights = list(convolution_weights(work.model, self.name).items())
        for name, weight in weights if self.noised == "all" else weights[:1]:
            draws = work.draws(self.name, when, name)
            weight.add_(weight.new_empty(weight.shape).normal_(generator=draws), alpha=deviation)
