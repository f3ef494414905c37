"""`scrub`: away from the original on forget images, close to it on retain images, in turns.

Follows: Kurmanji et al., NeurIPS 2023, arXiv:2302.09880. In the first epochs a pass over the forget images raises
`T^2 KL(original || model)`; every epoch has a pass over the retain images that lowers `gamma CE + alpha T^2 KL`. One SGD
with momentum 0.9 and a rate of 5e-4, a tenth of it after epochs 3, 5 and 9. The defaults are those of the authors' study of
membership inference (5 epochs, 3 of them with a forget pass, T = 4, weight decay 5e-4), the batches those of their
large-scale runs; their small-scale runs have 10 epochs, T = 2 and a weight decay of 0.1.
With `rewind` it is SCRUB+R: the model goes back to the epoch whose error on the forget images is closest to the error that
the last epoch has on validation images of the forgotten classes.
Deviations: all epochs can be gone back to; the published code counts its files off by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.training.losses import cross_entropy, kl_divergence
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, Schedule, spans

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from efface.training.classification import Labelled, Work

CHUNK = 512


class Scrub(ClassifierMethod):
    """Leave the original on the forget images and stay with it on the retain images."""

    epochs: int = Field(5, ge=1, description="passes over the retain images")
    forget_epochs: int = Field(
        3, ge=0, description="the first epochs, which begin with a pass over forget images"
    )
    gamma: float = Field(1.0, ge=0, description="weight of the cross-entropy of the retain images")
    alpha: float = Field(0.5, ge=0, description="weight of the distance to the original on the retain images")
    temperature: float = Field(4.0, gt=0, description="what logits are divided by before the softmax")
    learning_rate: float = Field(5e-4, gt=0, description="learning rate of SGD in the first epoch")
    decay_after: tuple[int, ...] = Field(
        (3, 5, 9), description="epochs after which the rate falls to a tenth"
    )
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    retain_batch_size: int = Field(128, ge=2, description="images a step of the retain passes")
    forget_batch_size: int = Field(32, ge=2, description="images a step of the forget passes")
    rewind: bool = Field(
        False,
        description="go back to the epoch with the right error on forget images; needs validation images",
    )

    name: ClassVar[str] = "scrub"
    summary: ClassVar[str] = "away from the original on forget images, close to it on retain images, in turns"
    source: ClassVar[str] = "Kurmanji et al., NeurIPS 2023, arXiv:2302.09880"
    deviations: ClassVar[str] = "rewinding counts epochs from 1; the published code is off by one"
    needs_original: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-5, 1e-2),
        "alpha": (1e-3, 1.0),
        "epochs": (2, 10),
    }

    @property
    def uses_validation(self) -> bool:
        return self.rewind

    def passes(self, facts: Facts) -> Passes:
        if self.rewind and not facts.sizes.get("validation"):
            raise InputError(
                "scrub: rewind needs validation images, and there are none; name some, or set rewind to false"
            )
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        retain, forget = {"retain": self.retain_batch_size}, {"forget": self.forget_batch_size}
        plan: list[Edit | Pass] = [Edit("check validation images", refuse_no_peers)] if self.rewind else []
        for epoch in range(1, self.epochs + 1):
            rate = scaled(0.1 ** sum(epoch > last for last in self.decay_after))
            if epoch <= self.forget_epochs:
                plan.append(Pass(f"forget {epoch}", self.away, forget, optimiser, schedule=rate))
            plan.append(Pass(f"retain {epoch}", self.near, retain, optimiser, schedule=rate))
            if self.rewind:
                plan.append(Edit(f"keep epoch {epoch}", partial(keep, epoch)))
        return [*plan, Edit("rewind", self.go_back)] if self.rewind else plan

    def away(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Minus the distance to the original on the forget batch."""
        batch = batches["forget"]
        return -self.distance(work.model(batch.images), work.original_logits("forget")[batch.places])

    def near(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Cross-entropy and distance to the original on the retain batch."""
        batch = batches["retain"]
        logits = work.model(batch.images)
        distance = self.distance(logits, work.original_logits("retain")[batch.places])
        return self.gamma * cross_entropy(logits, batch.labels) + self.alpha * distance

    def distance(self, logits: Tensor, original: Tensor) -> Tensor:
        """`T^2 KL(original || model)` at temperature T, a mean over images."""
        return self.temperature**2 * kl_divergence(logits, original, self.temperature)

    def go_back(self, work: Work) -> None:
        """Take the weights of the epoch with the right error on forget images; of equals, the first."""
        wanted = error(work, "validation", peers(work))
        epochs = range(1, self.epochs + 1)
        best = min(epochs, key=lambda epoch: abs(work.memory[f"error {epoch}"].item() - wanted))
        names = list(work.model.network.state_dict())
        work.model.network.load_state_dict({name: work.memory[f"epoch {best} {name}"] for name in names})
        for epoch in epochs:
            for name in names:
                del work.memory[f"epoch {epoch} {name}"]


def scaled(factor: float) -> Schedule:
    """The learning rate times a factor, through the whole pass."""
    return lambda share: factor


def keep(epoch: int, work: Work) -> None:
    """Keep in memory the weights after this epoch, and their error on the forget images."""
    import torch

    for name, value in work.model.network.state_dict().items():
        work.memory[f"epoch {epoch} {name}"] = value.clone()
    mistakes = error(work, "forget", np.arange(len(work.sets["forget"])))
    work.memory[f"error {epoch}"] = torch.tensor(mistakes, dtype=torch.float64)


def error(work: Work, stream: str, places: npt.NDArray[np.int64]) -> float:
    """Share of wrong answers among the images of a set at these places."""
    wrong = 0
    for a, b in spans(len(places), CHUNK):
        batch = work.batch(stream, places[a:b])
        wrong += int((work.model(batch.images).argmax(1) != batch.labels).sum())
    return wrong / len(places)


def peers(work: Work) -> npt.NDArray[np.int64]:
    """Places of the validation images whose class is among those of the forget images."""
    return np.flatnonzero(np.isin(work.sets["validation"].labels, work.sets["forget"].labels))


def refuse_no_peers(work: Work) -> None:
    """Raise `InputError` if no validation image has the class of a forget image."""
    if not len(peers(work)):
        classes = ", ".join(str(label) for label in np.unique(work.sets["forget"].labels))
        raise InputError(
            f"scrub: rewind compares with validation images of the forgotten classes ({classes}), and there are "
            "none; add some, or set rewind to false"
        )
