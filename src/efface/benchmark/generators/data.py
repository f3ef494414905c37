"""The images of a task of generators, in memory: its sets, and where their pixels are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import Purpose
from efface.errors import InputError
from efface.files import canonical_json
from efface.images.datasets import DatasetSettings, open_dataset
from efface.images.items import ImageItem, ImageSet
from efface.images.labelled import LabelledImages
from efface.randomness import numpy_draws

if TYPE_CHECKING:
    from efface.evaluation.results import SetName


@dataclass(frozen=True)
class Pictures:
    """Pixels in memory by id: what training and measuring read from."""

    pixels: Mapping[str, npt.NDArray[np.uint8]]

    def read(self, id_: str) -> npt.NDArray[np.uint8]:
        """uint8 `[height, width, 3]`."""
        return self.pixels[id_]


@dataclass(frozen=True)
class GeneratorData:
    """The images of a task: sets by name (forget, retain, neutral, proxy), and where their pixels are read."""

    sets: Mapping[str, ImageSet]
    pictures: Pictures
    notes: tuple[str, ...]

    def measured(self, task: GeneratorTask) -> dict[SetName, ImageSet]:
        """The sets that are measured: of the retain images as many as the task says, drawn."""
        retain = self.sets["retain"]
        draws = numpy_draws(task.images.split_seed, "measured retain images")
        some = np.sort(draws.permutation(len(retain))[: task.measured])
        return {
            "forget": self.sets["forget"],
            "retain": retain.subset(some.tolist()),
            "neutral": self.sets["neutral"],
        }

    def retained(self, share: float | str, seed: int) -> ImageSet:
        """A share of the retain images, drawn with `seed`, or the `proxy` images; raises `InputError` without any."""
        if share == "proxy":
            if not len(self.sets["proxy"]):
                raise InputError(
                    "retain: proxy: the task has no proxy images; give images.validation a share"
                )
            return self.sets["proxy"]
        images = self.sets["retain"]
        count = max(1, round(float(share) * len(images)))
        order = numpy_draws(seed, "retain share").permutation(len(images))
        return images.subset(np.sort(order[:count]).tolist())


def open_images(task: str, purpose: Purpose = "score") -> GeneratorData:
    """The images of a task (as JSON), which share their pixels in memory."""
    return _opened(canonical_json(json.loads(task)["images"]), purpose)


def contents(task: GeneratorTask) -> str:
    """A digest of the images of a task."""
    return open_dataset(task.images).digest()


def forget_images() -> None:
    """Drop what this process keeps of images: files may have changed since."""
    _opened.cache_clear()


@lru_cache(maxsize=4)
def _opened(images: str, purpose: Purpose) -> GeneratorData:
    found = open_dataset(DatasetSettings.read(json.loads(images)), purpose)
    # a proxy of a class that is to be forgotten would teach it again
    kept = np.isin(found.validation.labels, np.unique(found.retain.labels))
    parts = {
        "forget": found.forget,
        "retain": found.retain,
        "neutral": found.test,
        "proxy": found.validation.subset(np.flatnonzero(kept)),
    }
    sets = {name: _image_set(images, found.classes) for name, images in parts.items()}
    pixels = {
        id_: picture.transpose(1, 2, 0)
        for images in parts.values()
        for id_, picture in zip(images.ids, images.pixels, strict=True)
    }
    return GeneratorData(sets, Pictures(pixels), found.notes)


@dataclass(frozen=True, slots=True)
class _InMemory:
    where: str

    def read_bytes(self) -> bytes:
        raise OSError("it is in memory alone")


def _image_set(images: LabelledImages, classes: tuple[str, ...]) -> ImageSet:
    side = images.pixels.shape[-1]
    return ImageSet(
        ImageItem(id_, id_, classes[label], _InMemory(id_), side, side)
        for id_, label in zip(images.ids, images.labels.tolist(), strict=True)
    )
