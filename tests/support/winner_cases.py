"""A tiny classifier, greys of three classes, and one batch of each set for the competition's methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import ClassifierMethod
from efface.training.classification import Labelled, Work
from efface.training.passes import Facts, Pass

SIDE, CLASSES = 8, 3
SIZES = {"forget": 10, "retain": 30, "validation": 12}
MAJORITY = 1


class Tiny(nn.Module):
    """A stem, a block with a shortcut as in a ResNet, and a head."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 6, 3, padding=1, stride=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.downsample = nn.Sequential(nn.Conv2d(width, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images)).relu()
        x = (self.bn2(self.conv2(x)) + self.downsample(x)).relu()
        return self.fc(x.mean((2, 3)))


CONVOLUTIONS = ["conv1.weight", "conv2.weight", "downsample.0.weight"]
BY_TYPE = {f"{layer}.{kind}" for layer in ("bn1", "bn2", "downsample.1") for kind in ("weight", "bias")}


def classifier(network: nn.Module | None = None, channels: int = 1) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network or Tiny()
    names = tuple("abc")
    return Classifier(network, classes=names, image_size=SIDE, channels=channels).eval()


def sets(**sizes: int) -> dict[str, LabelledImages]:
    """Random greys; every second label is that of the majority class."""
    made = {}
    for number, (name, size) in enumerate({**SIZES, **sizes}.items()):
        rng = np.random.default_rng(number)
        labels = rng.integers(0, CLASSES, size)
        labels[::2] = MAJORITY
        pixels = rng.integers(0, 256, (size, 1, SIDE, SIDE), dtype=np.uint8)
        made[name] = LabelledImages(pixels, labels, tuple(f"{name}{place}" for place in range(size)))
    return made


def facts(model: Classifier, seed: int = 0, **sizes: int) -> Facts:
    return Facts({**SIZES, **sizes}, CLASSES, model.blocks, seed=seed)


def work(model: Classifier, seed: int = 0, **sizes: int) -> Work:
    return Work(model, sets(**sizes), facts(model, seed, **sizes))


def edited(edit: Callable[[Work], None], model: Classifier | None = None, seed: int = 0) -> Work:
    """The work after one edit, applied as the loop does."""
    done = work((model or classifier()).copy(), seed)
    with torch.no_grad():
        edit(done)
    return done


def weights(model: Classifier) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.network.named_parameters()}


def changed(model: Classifier, other: Classifier | None = None) -> set[str]:
    before = weights(other or classifier())
    return {name for name, value in weights(model).items() if not value.equal(before[name])}


def moved(model: Classifier) -> Classifier:
    """The model at some distance from the original, so that no loss vanishes."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=1.0)
    return model


def training(method: ClassifierMethod) -> list[Pass]:
    return [one for one in method.passes(facts(classifier())) if isinstance(one, Pass)]


def rates(method: ClassifierMethod) -> list[float]:
    """The learning rate at the start of each pass."""
    return [one.optimiser.learning_rate * one.schedule(0) for one in training(method)]


def whole(done: Work, stream: str) -> Labelled:
    return done.batch(stream, np.arange(SIZES[stream]))


def case() -> tuple[Work, dict[str, Labelled]]:
    """A model that has moved away from its original, and one batch of each set."""
    done = work(classifier())
    moved(done.model)
    return done, {stream: whole(done, stream) for stream in SIZES}
