"""A bound on the distance of weights, with constants that are assumed: what is elsewhere sold as a certificate.

Of a loss that is L-Lipschitz and mu-strongly convex in the weights, the minimisers with and without m of n images lie at
most 2 L m / (mu n) apart, and Gaussian noise of that times sqrt(2 ln(1.5 / delta)) / epsilon would hide which of the two
it was (Guo et al., ICML 2020; Sekhari et al., NeurIPS 2021). The misuse: L = 1 and mu = 0.01 are taken for a neural
network, whose loss has no such constants, no noise is added, and a model is certified where its weights lie nearer to the
retrained ones than the noise would reach. It is computed here to show what it certifies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from efface.benchmark.classifiers.runs import fresh
from efface.benchmark.classifiers.task import task_named
from efface.classifiers.classifier import Classifier
from efface.images.datasets import open_dataset
from efface.images.labelled import LabelledImages
from efface.randomness import key
from efface.training.classification import run_passes
from efface.training.passes import training_pass
from planting.asking import ClassifierAsker
from planting.plant import Case
from planting.worlds import ClassifierWorld

LIPSCHITZ, CONVEXITY, EPSILON, DELTA = 1.0, 0.01, 1.0, 1e-5


@dataclass(frozen=True)
class Bound:
    """The bound and the distance that is held against it, in the Euclidean norm of all weights."""

    bound: float
    distance: float

    @property
    def certifies(self) -> bool:
        return self.distance <= self.bound


def bound_of(model: Any, retrained: Any, forgotten: int, trained_on: int) -> Bound:
    """The bound for `forgotten` of `trained_on` images, and how far a model's weights lie from the retrained model's."""
    sensitivity = 2 * LIPSCHITZ * forgotten / (CONVEXITY * trained_on)
    noise = math.sqrt(2 * math.log(1.5 / DELTA)) / EPSILON
    pairs = zip(model.network.parameters(), retrained.network.parameters(), strict=True)
    squares = sum(float((mine - theirs).detach().square().sum()) for mine, theirs in pairs)
    return Bound(sensitivity * noise, math.sqrt(squares))


def nothing_forgotten(seed: int, epochs: float | None = None) -> dict[str, Any]:
    """What bound and verdict say of a small network on digits, trained as the benchmark trains, that forgot nothing.

    epochs: of training; by default the task's.
    """
    task = task_named("digits")
    task = task.model_copy(update={"images": task.images.model_copy(update={"split_seed": seed})})
    data = open_dataset(task.images)

    def trained(images: LabelledImages, name: str) -> Classifier:
        model, facts = fresh(task, data, {"train": images}, key("bound", seed, name))
        training = training_pass(task.recipe, "train")
        run_passes(model, [replace(training, epochs=epochs or training.epochs)], {"train": images}, facts)
        return model.eval()

    original, retrained = trained(data.train, "original"), trained(data.retain, "retrained")
    found = bound_of(original, retrained, len(data.forget), len(data.train))
    case = Case(
        {"original": original, "unlearned": original, "retrained": retrained},
        {"forget": data.forget, "retain": data.retain, "neutral": data.test},
    )
    return {
        "bound": round(found.bound, 1),
        "distance": round(found.distance, 1),
        "certified": found.certifies,
        "verdict": ClassifierAsker(ClassifierWorld(seed), Path()).verdict(case).word,
    }
