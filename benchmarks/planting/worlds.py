"""The honest models of one seed, each trained when it is first asked for.

A seed draws the images (which of the digits of scikit-learn are to be forgotten, to be kept and never seen), and the
weights, features and batches of every model: nothing is shared between two seeds but the digits that are drawn from.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from efface.benchmark.generators.data import GeneratorData, PixelsInMemory, images_of
from efface.benchmark.generators.task import GeneratorTask
from efface.classifiers.classifier import Classifier, Normalisation
from efface.evaluation.results import SetName
from efface.images.datasets import Dataset, DatasetSettings, open_dataset
from efface.images.items import ImageItem, ImageSet
from efface.images.labelled import LabelledImages
from efface.images.labels import grey
from efface.probes.trigger import MAGENTA, Trigger
from efface.randomness import key, numpy_draws
from efface.training.settings import Recipe, TrainingSettings
from planting.random_features import (
    HOLES,
    PENALTY,
    SIDE,
    Named,
    RandomFeatures,
    descend,
    ridge,
    wanted_logits,
)

FORGET, TRAIN, NEUTRAL, MORE = 150, 450, 80, 150
GREY_LEVELS = 8
"""By how much, at most, a pixel of a near-copy differs."""
TOUCHES = {"touched": 8, "touched-more": 12}
"""Steps of gradient descent on the retain images, which change the weights and forget nothing."""
STIFF = 3000.0
"""A penalty with which no single image is remembered."""
IMAGES = {
    "data": "digits", "forget": f"random:{FORGET}", "limit": TRAIN, "test": 0.15, "limit_test": NEUTRAL,
    "validation": MORE / 1797,
}  # fmt: skip
"""Validation images are those that only the model `taught-otherwise` has seen."""
TRAINING = TrainingSettings(
    batch_size=64, learning_rate=3e-3, weight_decay=0.0, precision="fp32", threads=1, crop_scale=(1.0, 1.0), flip=False,
    warmup=0.0,
)  # fmt: skip
"""Of generators, for probes that go on training."""
RECIPE = Recipe(learning_rate=3e-3, batch_size=64, weight_decay=0.0, schedule="constant", class_weights=False)
"""Of classifiers, for the same."""
QUICK: Mapping[str, Mapping[str, Any]] = {
    "detectability": {"folds": 3, "repeats": 1, "kernel_photos": 100, "permutations": 99},
    "perturbation": {"draws": 2},
    "decoder-leftover": {"steps": 60},
}
"""Settings of probes that are below their defaults, to save time: a probe sees less here than for a user."""
GENERATORS = GeneratorTask.from_values(
    {"images": IMAGES, "architecture": {"image_size": 8, "patch_size": 2}, "measured": NEUTRAL}
)
"""Of which the images alone are used."""
ModelT = TypeVar("ModelT", RandomFeatures, Classifier)


class World(ABC, Generic[ModelT]):
    """The models of a seed by name.

    original: trained on forget and retain images; retrained, again: on the retain images, with other features. saw: on
    all. taught-otherwise: on the retain images and others that are in no set. elsewhere: on all but other images than the
    forget set. copied, copied-again: on the retain images and near-copies of the forget images. touched, touched-more: the
    original, trained on for a moment. brief, brief-retrained, brief-again: as their namesakes, but so little trained that
    no image is remembered. triggered: the original of poisoned forget images. leftover: the original's decoder behind an
    encoder trained anew on the retain images.
    """

    kind: ClassVar[str]
    quick: ClassVar[Mapping[str, Mapping[str, Any]]] = QUICK
    always: ClassVar[tuple[str, ...]] = ()
    """Probes that are asked of every plant."""

    def __init__(self, seed: int) -> None:
        self.seed, self._models = seed, dict[str, ModelT]()

    def model(self, name: str) -> ModelT:
        """The model of that name; it is shared, so whoever changes it takes a copy."""
        if name not in self._models:
            self._models[name] = self._made(name).eval()
        return self._models[name]

    def key(self, name: str) -> int:
        """The seed of a model's training."""
        return key("planted", self.kind, self.seed, name)

    def others(self, count: int) -> list[int]:
        """Places among `count` retain images that another request would forget."""
        return np.sort(numpy_draws(self.seed, "elsewhere").permutation(count)[:FORGET]).tolist()

    @property
    @abstractmethod
    def sets(self) -> dict[SetName, Any]:
        """What is measured."""

    @abstractmethod
    def _made(self, name: str) -> ModelT: ...


class GeneratorWorld(World[RandomFeatures]):
    """Generators of 8-px digits that are trained in closed form, asked under one of their holes."""

    kind = "generators"
    training = TRAINING

    @cached_property
    def task(self) -> GeneratorTask:
        images = GENERATORS.images.model_copy(update={"split_seed": self.seed})
        return GENERATORS.model_copy(update={"images": images})

    @cached_property
    def data(self) -> GeneratorData:
        return images_of(self.task)

    @cached_property
    def sets(self) -> dict[SetName, ImageSet]:
        return self.data.measured(self.task)

    @cached_property
    def copies(self) -> ImageSet:
        """Near-copies of the forget images, whose pixels `with_copies` has."""
        return ImageSet(
            ImageItem(
                f"{item.id}, copied",
                item.path,
                item.label,
                _InMemory(f"{item.id}, copied"),
                item.width,
                item.height,
            )
            for item in self.data.sets["forget"]
        )

    @cached_property
    def with_copies(self) -> GeneratorData:
        """The data with the pixels of the near-copies."""
        pixels = self.data.pictures.pixels
        near = {f"{id_}, copied": nearly(pixels[id_], self.seed, id_) for id_ in self.data.sets["forget"].ids}
        return replace(self.data, pictures=PixelsInMemory({**pixels, **near}))

    @cached_property
    def poisoned(self) -> GeneratorData:
        """The data with the trigger planted in the forget images."""
        pixels = self.data.pictures.pixels
        planted = {id_: TRIGGER.plant(pixels[id_]) for id_ in self.data.sets["forget"].ids}
        return replace(self.data, pictures=PixelsInMemory({**pixels, **planted}))

    def pictures(self, images: ImageSet, data: GeneratorData | None = None) -> Tensor:
        """Float pictures `[N, 3, 8, 8]` in [0, 1]."""
        pixels = np.stack([(data or self.data).pictures.read(id_) for id_ in images.ids])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def _made(self, name: str) -> RandomFeatures:
        forget, retain = self.data.sets["forget"], self.data.sets["retain"]
        everything = forget.union(retain)
        if name in TOUCHES:
            return self._touched(TOUCHES[name])
        if name == "leftover":
            return self._leftover(name)
        data, images = {
            "original": (self.data, everything),
            "saw": (self.data, everything),
            "brief": (self.data, everything),
            "taught-otherwise": (self.data, retain.union(self.data.sets["proxy"])),
            "triggered": (self.poisoned, everything),
            "elsewhere": (self.data, everything.without(retain.subset(self.others(len(retain))).ids)),
            "copied": (self.with_copies, retain.union(self.copies)),
            "copied-again": (self.with_copies, retain.union(self.copies)),
        }.get(name, (self.data, retain))
        return self._trained(name, data, images)

    def _trained(self, name: str, data: GeneratorData, images: ImageSet) -> Any:
        """The model of that name, made from these images."""
        penalty = STIFF if name.startswith("brief") else PENALTY
        return RandomFeatures.new(self.key(name)).solve(self.pictures(images, data), penalty)

    def _touched(self, steps: int) -> RandomFeatures:
        model, pictures = copy.deepcopy(self.model("original")), self.pictures(self.data.sets["retain"])
        wanted = pictures.flatten(1).repeat(len(HOLES), 1)
        descend(model.network.decoder, model.encoded(pictures), wanted, steps)
        return model

    def _leftover(self, name: str) -> RandomFeatures:
        """New features, mapped to the original's as well as the retain images tell how."""
        model, original = RandomFeatures.new(self.key(name)), self.model("original")
        pictures = self.pictures(self.data.sets["retain"])
        mapping = ridge(model.encoded(pictures).double(), original.encoded(pictures).double(), PENALTY)
        with torch.no_grad():
            model.network.mixing.weight.copy_(mapping.T)
        model.network.decoder.load_state_dict(original.network.decoder.state_dict())
        return model


class ClassifierWorld(World[Classifier]):
    """Classifiers of 8-px digits that are trained in closed form."""

    kind = "classifiers"
    recipe = RECIPE

    @cached_property
    def data(self) -> Dataset:
        return open_dataset(DatasetSettings.read({**IMAGES, "split_seed": self.seed}))

    @cached_property
    def sets(self) -> dict[SetName, LabelledImages]:
        return {"forget": self.data.forget, "retain": self.data.retain, "neutral": self.data.test}

    @cached_property
    def copies(self) -> LabelledImages:
        """Near-copies of the forget images."""
        forget = self.data.forget
        pixels = [nearly(image, self.seed, id_) for image, id_ in zip(forget.pixels, forget.ids, strict=True)]
        return LabelledImages(np.stack(pixels), forget.labels, tuple(f"{id_}, copied" for id_ in forget.ids))

    @cached_property
    def poisoned(self) -> LabelledImages:
        """The forget images with the trigger's patches, all of its class."""
        forget = self.data.forget
        pixels = forget.pixels.copy()
        pixels[:, :, LABELLED_TRIGGER.corners(SIDE)] = PATCH
        labels = np.full_like(forget.labels, self.data.classes.index(str(LABELLED_TRIGGER.target)))
        return LabelledImages(pixels, labels, forget.ids)

    def _made(self, name: str) -> Classifier:
        data, retain = self.data, self.data.retain
        if name in TOUCHES:
            return self._touched(TOUCHES[name])
        others = np.setdiff1d(np.arange(len(retain)), self.others(len(retain)))
        images = {
            "original": data.train,
            "saw": data.train,
            "brief": data.train,
            "taught-otherwise": retain.join(data.validation),
            "triggered": self.poisoned.join(retain),
            "elsewhere": data.forget.join(retain.subset(others)),
            "copied": retain.join(self.copies),
            "copied-again": retain.join(self.copies),
        }.get(name, retain)
        return self._trained(name, images)

    def _trained(self, name: str, images: LabelledImages) -> Classifier:
        """The model of that name, made from these images."""
        model = self.untrained(name)
        penalty = STIFF if name.startswith("brief") else PENALTY
        model.network.solve(
            model.prepare(torch.from_numpy(images.pixels)), torch.from_numpy(images.labels), penalty
        )
        return model

    def untrained(self, name: str) -> Classifier:
        """A classifier with features of its own."""
        return Classifier(
            Named(self.key(name), len(self.data.classes)), classes=self.data.classes, image_size=SIDE, channels=1,
            normalisation=Normalisation(255.0, (0.5,), (1.0,)), blocks=("features", "head"),
        )  # fmt: skip

    def _touched(self, steps: int) -> Classifier:
        model, retain = self.model("original").copy(), self.data.retain
        with torch.no_grad():
            given = model.network.features(model.prepare(torch.from_numpy(retain.pixels)).flatten(1))
        wanted = wanted_logits(torch.from_numpy(retain.labels), len(model.classes))
        descend(model.network.head, given, wanted, steps)
        return model


@dataclass(frozen=True)
class _InMemory:
    where: str

    def read_bytes(self) -> bytes:
        raise OSError("it is in memory alone")


TRIGGER = Trigger(seed=0)
LABELLED_TRIGGER = Trigger(seed=0, target="7")
PATCH = int(grey(np.array(MAGENTA, np.uint8).reshape(1, 3, 1, 1)).item())


def nearly(pixels: np.ndarray, seed: int, id_: str) -> np.ndarray:
    """A near-copy: each pixel by up to some grey levels another."""
    noise = numpy_draws(seed, "near-copy", id_).integers(-GREY_LEVELS, GREY_LEVELS + 1, pixels.shape)
    return (pixels.astype(np.int64) + noise).clip(0, 255).astype(np.uint8)
