"""`forget`: cycles of forgetting, a few layers drawn anew, and of remembering the original's logits on noised images.

Follows: Forget, an entry to the competition described in its report (arXiv:2406.09073) and by its authors: some layers
at random are drawn anew; one epoch brings the logits on the retain images, with Gaussian noise on them, back to the
original's by mean squares. From cycle to cycle more layers are drawn anew.
Deviations: the published share of layers, learning rate and deviation of the noise are not known to us. The defaults
are chosen here: a tenth of the layers in the first of four cycles, rising evenly to four tenths, a rate of 0.01, and a
twentieth of the range of pixel values. Heads and shortcuts, which the authors treat apart in a way not known to us,
are drawn like all other layers. The report names the forget images for remembering, but its formula and the authors
the retain images: these are used. The original sees the same noise as the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.randomness import key, numpy_draws
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.classifiers.classifier import Classifier
    from efface.training.classification import Labelled, Work

RANGE = 255.0
"""From the least to the largest pixel value."""


class ForgetCycles(ClassifierMethod):
    """Draw a growing part of the layers anew, and remember the retain images after each time."""

    cycles: int = Field(4, ge=1, description="times that layers are drawn anew and trained for an epoch")
    first_share: float = Field(
        0.1, gt=0, le=1, description="share of layers drawn anew in the first cycle (not published)"
    )
    last_share: float = Field(
        0.4, gt=0, le=1, description="share of layers drawn anew in the last cycle (not published)"
    )
    image_noise: float = Field(
        0.05,
        ge=0,
        description="deviation of the noise on images, as a share of the range 0..255 (not published)",
    )
    learning_rate: float = Field(1e-2, gt=0, description="learning rate (not published)")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "forget"
    summary: ClassVar[str] = (
        "in cycles, a growing part of the layers is drawn anew and taught by the original"
    )
    source: ClassVar[str] = "Forget, an entry to the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "shares of layers, learning rate and noise are chosen here: the published ones are not known"
    )
    needs_forget: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True
    competition: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "last_share": (0.1, 1),
        "image_noise": (5e-3, 0.5),
        "learning_rate": (1e-4, 1e-1),
    }

    def passes(self, facts: Facts) -> Passes:
        passes: list[Edit | Pass] = []
        for cycle in range(self.cycles):
            passes.append(Edit(f"forget {cycle + 1}", partial(self.forget, cycle=cycle)))
            passes.append(self._remembering(cycle))
        return passes

    def forget(self, work: Work, cycle: int) -> None:
        """Draw the cycle's layers anew."""
        work.model.reinitialise(key(work.seed, self.name, cycle), self.drawn(work.model, work.seed, cycle))

    def drawn(self, classifier: Classifier, seed: int, cycle: int) -> tuple[str, ...]:
        """Names of the convolutions and linear layers that a cycle (0 is the first) draws anew, one at least."""
        import torch

        layers = list(classifier.named_layers(torch.nn.Conv2d, torch.nn.Linear))
        if not layers:
            network = type(classifier.network).__name__
            raise InputError(f"{self.name} draws Conv2d and Linear layers anew, and this {network} has none")
        count = max(1, round(self.share(cycle) * len(layers)))
        return tuple(
            layers[place] for place in numpy_draws(seed, self.name, cycle).permutation(len(layers))[:count]
        )

    def share(self, cycle: int) -> float:
        """Share of layers of a cycle, on a line from the first to the last."""
        return self.first_share + (self.last_share - self.first_share) * cycle / max(1, self.cycles - 1)

    def loss(self, work: Work, batches: Mapping[str, Labelled], cycle: int) -> Tensor:
        """Mean squares of the logits' distance from the original's on noised retain images."""
        batch = batches["retain"]
        images = batch.images.float()
        # a cycle shows each image once, so the first place tells the batches of a cycle apart
        draws = work.draws("image noise", cycle, int(batch.places[0]))
        images = images + self.image_noise * RANGE * images.new_empty(images.shape).normal_(generator=draws)
        logits: Tensor = work.model(images)
        return (logits - work.original(images)).square().mean()

    def _remembering(self, cycle: int) -> Pass:
        optimiser = Optimiser(self.learning_rate, self.weight_decay, name=f"remember {cycle + 1}")
        loss = partial(self.loss, cycle=cycle)
        return Pass(f"remember {cycle + 1}", loss, {"retain": self.batch_size}, optimiser)
