"""`bad-teacher`: on forget images the model learns to answer as a network with random weights does.

Follows: Chundawat et al., AAAI 2023, arXiv:2205.08096: KL(teacher || model), the teacher being a randomly initialised
network for forget images and the original for a sample of 30 % of the retain images; temperature 1, Adam with a rate of
1e-4, no weight decay, one epoch, batches of 256 of both kinds shuffled together.
Deviations: KL is a mean over images; the published code also divides by the number of classes, which Adam takes out again.
Both teachers answer once, before training, since images are not varied. The published code leaves the model in the mode
that it finds it in; here it trains, unless `mode` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.randomness import numpy_draws
from efface.training.losses import kl_divergence
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, Work

TAUGHT = "forget and retain sample"
"""Name of the set of forget images and sampled retain images, in this order."""
ANSWERS = "teachers' logits"
"""Where the memory holds the logits to be learnt, `[images, classes]`."""


class BadTeacher(ClassifierMethod):
    """Learn forget images from a bad teacher, and retain images from the original."""

    retain_share: float = Field(0.3, gt=0, le=1, description="share of the retain images that is used")
    temperature: float = Field(1.0, gt=0, description="what logits are divided by before the softmax")
    epochs: float = Field(1, gt=0, description="passes over the forget images and the sample")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of Adam, constant")
    batch_size: int = Field(256, ge=2, description="images a step")
    teacher: Literal["random", "base"] = Field(
        "random",
        description="who answers forget images. random: a network with random weights, as published; base: the model from "
        "which this one was trained on, which never saw them",
    )
    mode: Literal["train", "eval"] = Field(
        "train", description="eval: statistics of batch normalisation stay as they are, and dropout is off"
    )

    name: ClassVar[str] = "bad-teacher"
    summary: ClassVar[str] = (
        "forget images are learnt from a network with random weights, others from the original"
    )
    source: ClassVar[str] = "Chundawat et al., AAAI 2023, arXiv:2205.08096"
    deviations: ClassVar[str] = (
        "KL is a mean over images alone, not also over classes; the model is in training mode"
    )
    needs_labels: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "learning_rate": (1e-5, 1e-2),
        "epochs": (0.5, 10),
    }

    @property
    def asks_base(self) -> bool:
        return self.teacher == "base"

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        retain = sets["retain"]
        order = numpy_draws(facts.seed, "bad teacher", "retain sample").permutation(len(retain))
        sample = np.sort(order[: max(1, int(self.retain_share * len(retain)))])
        return {TAUGHT: sets["forget"].join(retain.subset(sample))}

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, 0.0, kind="adam")
        return [
            Edit("teachers", self.ask),
            Pass("learn", self.loss, {TAUGHT: self.batch_size}, optimiser, self.epochs, mode=self.mode),
        ]

    def ask(self, work: Work) -> None:
        """Keep in memory what each teacher answers to its images."""
        import torch

        if self.teacher == "base":
            if work.facts.base is None:
                raise InputError("teacher: base: the model from which this one was trained on is not at hand")
            bad = work.facts.base.copy().to(work.device)
        else:
            bad = work.original_model.copy()
            bad.reinitialise(work.seed)
        bad.eval()
        forgotten = [bad(batch.images) for batch in work.batches("forget", self.batch_size)]
        kept = work.original_logits(TAUGHT)[len(work.sets["forget"]) :]
        work.memory[ANSWERS] = torch.cat([*forgotten, kept])

    def loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """KL(teacher || model), each image with its own teacher."""
        batch = batches[TAUGHT]
        return kl_divergence(work.model(batch.images), work.memory[ANSWERS][batch.places], self.temperature)
