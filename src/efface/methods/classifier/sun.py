"""`sun`: the head is drawn anew; each epoch trains a few tensors only, some of which get noise.

Follows: Sun, a winner of the competition (arXiv:2406.09073), with the settings of its notebook as ported in
github.com/xcadet/deepunlearn (arXiv:2410.01276): nine epochs on the retain images, each with an optimizer of its own.
In the first five, nine tensors are drawn at random and trained with those of batch normalisation, all others being
frozen; from the second epoch on, 70 % of the drawn ones first get noise of deviation 0.04, except those drawn in an
earlier epoch: a tensor gets noise once at most, and those of the first epoch never. In the last four all are trained.
Deviations: the code knows batch normalisation by "bn" in the name, and so counts that of a ResNet's shortcuts among
the other tensors; names differ between networks, so layers of normalisation are told by type (`normalisation`). No
more than half of the other tensors are drawn at a time: nine would be all that a small network has, and then none
would ever get noise. A ResNet-18 has enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.methods.classifier.layers import head_of, normalisation_tensors
from efface.randomness import numpy_draws
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier
    from efface.training.classification import Work


class Sun(ClassifierMethod):
    """Disturb a few tensors at a time, and train them on the retain images."""

    noised_epochs: int = Field(5, ge=1, description="epochs in which a few tensors are drawn and trained")
    plain_epochs: int = Field(4, ge=0, description="epochs after these, in which all weights are trained")
    tensors: int = Field(9, ge=1, description="tensors drawn for an epoch, but no more than half of them")
    noised_share: float = Field(0.7, gt=0, le=1, description="share of the drawn tensors that may get noise")
    noise: float = Field(0.04, gt=0, description="deviation of the noise")
    learning_rate: float = Field(2e-4, gt=0, description="learning rate of all epochs but the last plain one")
    last_learning_rate: float = Field(1e-3, gt=0, description="learning rate of the last plain epoch")
    normalisation: Literal["type", "name"] = Field(
        "type",
        description="what is always trained, and never gets noise: layers of normalisation by their type, or "
        "whatever has 'bn' in its name, as the code has it",
    )
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "sun"
    summary: ClassVar[str] = "head drawn anew, then a few tensors at a time get noise and are trained"
    source: ClassVar[str] = "Sun, a winner of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "normalisation is told by type, not by name; no more than half of the tensors are drawn at a time"
    )
    needs_forget: ClassVar[bool] = False
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "noise": (4e-3, 0.4),
        "learning_rate": (2e-5, 2e-2),
        "last_learning_rate": (1e-4, 1e-1),
    }

    def passes(self, facts: Facts) -> Passes:
        passes: list[Edit | Pass] = [Edit("draw anew", self.draw_anew)]
        for epoch in range(self.noised_epochs):
            if epoch > 0:
                passes.append(Edit(f"noise {epoch + 1}", partial(self.disturb, epoch=epoch)))
            passes.append(self._noised(epoch, facts.seed))
        return [*passes, *(self._plain(number) for number in range(self.plain_epochs))]

    def draw_anew(self, work: Work) -> None:
        """Draw the head as its layer draws itself."""
        work.model.reinitialise(work.seed, (head_of(work.model, self.name),))

    def disturb(self, work: Work, epoch: int) -> None:
        """Add noise to the first of the tensors drawn for this epoch (0 is the first), those drawn before left out."""
        drawn = self.drawn(work.model, work.seed, epoch)
        before = {name for earlier in range(epoch) for name in self.drawn(work.model, work.seed, earlier)}
        parameters = dict(work.model.network.named_parameters())
        for name in drawn[: int(self.noised_share * len(drawn))]:
            if name not in before:
                noise = parameters[name].new_empty(parameters[name].shape)
                parameters[name].add_(
                    noise.normal_(generator=work.draws(self.name, epoch, name)), alpha=self.noise
                )

    def drawn(self, classifier: Classifier, seed: int, epoch: int) -> list[str]:
        """Names of the tensors drawn for an epoch, in the order of the draw."""
        apart = self._normalising(classifier)
        others = [name for name, _ in classifier.network.named_parameters() if name not in apart]
        count = min(self.tensors, max(1, len(others) // 2))
        return [
            others[place] for place in numpy_draws(seed, self.name, epoch).permutation(len(others))[:count]
        ]

    def trained(self, classifier: Classifier, seed: int, epoch: int) -> list[str]:
        """Names of all weights that an epoch trains: those drawn, and those of normalisation."""
        return [*self.drawn(classifier, seed, epoch), *sorted(self._normalising(classifier))]

    def _normalising(self, classifier: Classifier) -> set[str]:
        if self.normalisation == "type":
            return normalisation_tensors(classifier)
        return {name for name, _ in classifier.network.named_parameters() if "bn" in name}

    def _noised(self, epoch: int, seed: int) -> Pass:
        return Pass(
            f"few {epoch + 1}",
            labelled_loss,
            {"retain": self.batch_size},
            Optimiser(self.learning_rate, self.weight_decay, name=f"few {epoch + 1}"),
            trained=partial(self.trained, seed=seed, epoch=epoch),
        )

    def _plain(self, number: int) -> Pass:
        last = number == self.plain_epochs - 1
        rate = self.last_learning_rate if last else self.learning_rate
        optimiser = Optimiser(rate, self.weight_decay, name=f"all {number + 1}")
        return Pass(f"all {number + 1}", labelled_loss, {"retain": self.batch_size}, optimiser)
