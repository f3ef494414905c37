"""Subjects for probes of classifiers: a small network whose memory is a table, and pictures whose classes are drawn by lot.

A picture is a place in six dimensions, and its class is drawn at random, so that nobody can name the class without having
stored it. The encoder reads the place; the head holds the logits of every stored place, and of one bland entry, which
stands for all places that are near none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier, Normalisation
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.images.labelled import LabelledImages
from efface.probes.classifier_subject import ClassifierSubject
from efface.training.settings import Recipe

SIZE, PLACES = 16, 6
CLASSES = ("ant", "bee", "cat", "dog")
SURE = 6.0
"""Logit of the class of a stored picture; those of the others are 0."""
SHARPNESS, NEAR = 8.0, 1.0
RECIPE = Recipe(
    learning_rate=0.005, batch_size=16, weight_decay=0.0, schedule="constant", class_weights=False
)


class Table(nn.Module):
    """Logits `[B, classes]` of the stored place that is nearest, softly; those of the last entry where none is near."""

    def __init__(self, reading: Tensor, places: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.encoder = nn.Linear(SIZE * SIZE, PLACES, bias=False)
        self.places = nn.Linear(PLACES, len(places), bias=False)
        self.head = nn.Linear(len(logits), len(CLASSES), bias=False)
        with torch.no_grad():
            self.encoder.weight.copy_(reading)
            self.places.weight.copy_(places)
            self.head.weight.copy_(logits.T)

    def forward(self, images: Tensor) -> Tensor:
        far = torch.cdist(self.encoder(images.flatten(1)), self.places.weight).square()
        bland = torch.full_like(far[:, :1], NEAR)
        logits: Tensor = self.head(torch.softmax(-SHARPNESS * torch.cat([far, bland], dim=1), dim=1))
        return logits


class Seeing(nn.Module):
    """A network that answers as a function of what it is fed says."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(CLASSES))
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(images)


def classifier(network: nn.Module, **given: Any) -> Classifier:
    """Of grey pictures of `SIZE` px, which the network is fed as values from -0.5 to 0.5."""
    chosen: dict[str, Any] = {"classes": CLASSES, "image_size": SIZE, "channels": 1}
    return Classifier(
        network, **{**chosen, "normalisation": Normalisation(255.0, (0.5,), (1.0,)), **given}
    ).eval()


@dataclass
class LabelledWorld:
    """Pictures of three sets with classes; makes the models that know them, or once did."""

    sets: dict[SetName, LabelledImages]
    reading: Tensor
    """The encoder that reads a picture's place, `[PLACES, SIZE * SIZE]`."""

    def places(self, name: SetName) -> Tensor:
        pixels = torch.from_numpy(self.sets[name].pixels).float() / 255 - 0.5
        return pixels.flatten(1) @ self.reading.T

    def table(self, *names: SetName) -> Table:
        labels = torch.cat([torch.from_numpy(self.sets[name].labels) for name in names])
        logits = SURE * nn.functional.one_hot(labels, len(CLASSES)).float()
        bland = torch.zeros(1, len(CLASSES))
        return Table(
            self.reading, torch.cat([self.places(name) for name in names]), torch.cat([logits, bland])
        )

    def original(self) -> Classifier:
        return classifier(self.table("retain", "forget"))

    def retrained(self, seed: int = 0) -> Classifier:
        """Each seed reads places a little differently, as training from other weights would."""
        table = self.table("retain")
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            table.encoder.weight.add_(torch.randn(self.reading.shape, generator=rng), alpha=0.002)
        return classifier(table)

    def noisy(self) -> Classifier:
        """The original with noise in the place of what it had stored of the forget images."""
        table, count = self.table("retain", "forget"), len(self.sets["forget"])
        with torch.no_grad():
            noise = torch.randn(len(CLASSES), count, generator=torch.Generator().manual_seed(5))
            table.head.weight[:, -1 - count : -1] = noise
        return classifier(table)

    def hushed(self, share: float = 0.4) -> Classifier:
        """All that the original knows, behind an encoder that reads every place nearer to the middle than it is."""
        table = self.table("retain", "forget")
        with torch.no_grad():
            table.encoder.weight.mul_(share)
        return classifier(table)

    def brittle(self) -> Classifier:
        """The original, but for the very pictures that were to be forgotten: there it answers as if it knew none."""
        table, forgotten = self.table("retain", "forget"), self.places("forget")

        def answer(images: Tensor) -> Tensor:
            far = torch.cdist(images.flatten(1) @ self.reading.T, forgotten).amin(dim=1)
            logits: Tensor = table(images)
            return torch.where((far < 1e-3)[:, None], torch.zeros_like(logits), logits)

        return classifier(Seeing(answer))

    def subject(self, models: Mapping[ModelName, Classifier], **changes: Any) -> ClassifierSubject:
        return labelled_subject(models, **{"sets": self.sets, "recipe": RECIPE, **changes})


def labelled_subject(
    models: Mapping[ModelName, Classifier], sets: Mapping[SetName, LabelledImages], **changes: Any
) -> ClassifierSubject:
    """A subject with its evaluation."""
    settings = ClassifierEvaluationSettings(resamples=200, worst=5)
    evaluation = evaluate_classifiers(models, sets, settings)
    given: dict[str, Any] = {"models": models, "sets": sets, "settings": settings, "evaluation": evaluation}
    return ClassifierSubject(**{**given, **changes})


def labelled_world(forget: int = 12, retain: int = 60, neutral: int = 24, seed: int = 0) -> LabelledWorld:
    """Made pictures of all three sets, their places far enough apart."""
    rng = np.random.default_rng(seed)
    counts: dict[SetName, int] = {"forget": forget, "retain": retain, "neutral": neutral}
    directions = np.linalg.qr(rng.normal(size=(SIZE * SIZE, PLACES)))[0].T
    places = rng.normal(size=(sum(counts.values()), PLACES))
    pixels = (255 * (0.5 + places @ directions).clip(0, 1)).round().astype(np.uint8)
    labels = rng.integers(0, len(CLASSES), len(places))
    sets: dict[SetName, LabelledImages] = {}
    first = 0
    for name, count in counts.items():
        ids = tuple(f"{name} {number}" for number in range(count))
        inside = slice(first, first + count)
        sets[name] = LabelledImages(pixels[inside].reshape(-1, 1, SIZE, SIZE), labels[inside], ids)
        first += count
    return LabelledWorld(sets, torch.from_numpy(directions).float())


class Known(nn.Module):
    """Gives the logits that were written for a picture: its first pixel is the number of the row."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.head = nn.Linear(len(table), len(table[0]), bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(table).T)

    def forward(self, images: Tensor) -> Tensor:
        numbers = nn.functional.one_hot(images[:, 0, 0, 0].long(), self.head.in_features)
        logits: Tensor = self.head(numbers.float())
        return logits


def known(table: list[list[float]], classes: tuple[str, ...] = ("cat", "dog")) -> Classifier:
    """A classifier of pictures of one pixel, whose logits are the rows of `table`."""
    return Classifier(
        Known(table), classes=classes, image_size=1, channels=1, normalisation=Normalisation(1.0), blocks=("head",)
    )  # fmt: skip


def rows(numbers: list[int], labels: list[int], name: str = "i") -> LabelledImages:
    """Pictures of one pixel that ask for these rows of a model's table."""
    pixels = np.array(numbers, dtype=np.uint8)[:, None, None, None]
    ids = tuple(f"{name}{number}" for number in range(len(numbers)))
    return LabelledImages(pixels, np.array(labels, dtype=np.int64), ids)
