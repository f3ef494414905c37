"""`random-labels`: the forget images get random labels, and training goes on with all images.

Follows: amnesiac unlearning of Graves et al., AAAI 2021, arXiv:2010.10981: incorrect labels, drawn once. Steps as in the
published code of selective synaptic dampening (Foster et al., arXiv:2308.07707), which runs it as a baseline: 3 epochs,
Adam with a rate of 1e-4, no weight decay, batches of 128, forget and retain images shuffled together.
Deviations: none known. Settings give the other readings: any label, new labels in each epoch, and forget images before
retain images.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.randomness import numpy_draws
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, Work

MIXED = "forget and retain"
"""Name of the set of all images, the forget images first."""
DRAWN = "drawn labels"
"""Where the memory holds the labels of the forget images, `[forget images]`."""


class RandomLabels(ClassifierMethod):
    """Train on with random labels on the forget images."""

    epochs: int = Field(3, ge=1, description="passes over forget and retain images")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd has a momentum of 0.9")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate, constant")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    batch_size: int = Field(128, ge=2, description="images a step")
    wrong: bool = Field(True, description="draw among the other classes; false: among all classes")
    redraw: bool = Field(False, description="draw new labels in each epoch; false: once")
    order: Literal["mixed", "forget-first"] = Field(
        "mixed", description="all images shuffled together, or first the forget and then the retain images"
    )

    name: ClassVar[str] = "random-labels"
    summary: ClassVar[str] = "training goes on with random labels on the forget images"
    source: ClassVar[str] = "amnesiac unlearning, Graves et al., AAAI 2021, arXiv:2010.10981"
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-5, 1e-2),
        "epochs": (1, 10),
    }

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        return {MIXED: sets["forget"].join(sets["retain"])} if self.order == "mixed" else {}

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay, kind=self.optimizer)
        streams = (MIXED,) if self.order == "mixed" else ("forget", "retain")
        plan: list[Edit | Pass] = []
        for epoch in range(1, self.epochs + 1):
            if epoch == 1 or self.redraw:
                plan.append(Edit(f"labels {epoch}", partial(self.draw, epoch)))
            for stream in streams:
                loss = partial(relabelled_loss, stream)
                plan.append(Pass(f"{stream} {epoch}", loss, {stream: self.batch_size}, optimiser))
        return plan

    def draw(self, epoch: int, work: Work) -> None:
        """Draw a label for each forget image."""
        import torch

        true, classes = work.sets["forget"].labels, work.facts.classes
        rng = numpy_draws(work.seed, "random labels", epoch)
        if self.wrong:
            drawn = (true + rng.integers(1, classes, len(true))) % classes
        else:
            drawn = rng.integers(0, classes, len(true))
        work.memory[DRAWN] = torch.from_numpy(drawn).to(work.device)


def relabelled_loss(stream: str, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """Cross-entropy with the drawn labels on forget images, and the true ones on retain images."""
    batch = batches[stream]
    labels = batch.labels
    if stream != "retain":
        drawn = work.memory[DRAWN]
        places = batch.places.clamp(max=len(drawn) - 1)
        labels = drawn[places].where(batch.places < len(drawn), labels)
    return cross_entropy(work.model(batch.images), labels)
