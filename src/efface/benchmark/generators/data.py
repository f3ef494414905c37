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
from efface.errors import InputError
from efface.files import canonical_json, sha256_of_json
from efface.images.datasets import DatasetSettings, Purpose, open_dataset
from efface.images.items import ImageItem, ImageSet
from efface.images.labelled import LabelledImages
from efface.randomness import numpy_draws

if TYPE_CHECKING:
    from efface.evaluation.results import SetName
    from efface.generators.base import Generator


@dataclass(frozen=True)
class PixelsInMemory:
    """Pixels by id: what training and measuring read from."""

    pixels: Mapping[str, npt.NDArray[np.uint8]]

    def read(self, id_: str) -> npt.NDArray[np.uint8]:
        """uint8 `[height, width, 3]`."""
        return self.pixels[id_]


@dataclass(frozen=True)
class GeneratorData:
    """The images of a task: sets by name (forget, retain, neutral, proxy), and where their pixels are read.

    sha256: a digest of images and sets. notes: what a reader of results must know.
    """

    sets: Mapping[str, ImageSet]
    pictures: PixelsInMemory
    notes: tuple[str, ...]
    sha256: str

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


def base_of(task: GeneratorTask, path: str) -> Generator:
    """The task's base; code that builds the task's network builds it too."""
    from efface.generators.registry import FAMILIES, load_generator

    family = FAMILIES.named(task.generator)
    named = {family.named_by: getattr(task.architecture, family.named_by)} if family.named_by else {}
    return load_generator(family.settings.read({"path": path, **named}))


def images_of(task: GeneratorTask, purpose: Purpose = "score") -> GeneratorData:
    """The images of a task; tasks that share them share their pixels in memory."""
    return _opened(canonical_json(task.images.with_whole_path().as_dict()), purpose)


def digest_of(task: GeneratorTask) -> str:
    """A digest of the images of a task, and of the weights of its base, where it has one."""
    images = open_dataset(task.images).digest()
    if task.base is None:
        return images
    return sha256_of_json({"images": images, "base": base_of(task, task.base).weights_digest()})


def drop_images() -> None:
    """Drop what this process keeps of images: files may have changed since."""
    _opened.cache_clear()


@lru_cache(maxsize=4)
def _opened(images: str, purpose: Purpose) -> GeneratorData:
    data = open_dataset(DatasetSettings.read(json.loads(images)), purpose)
    # a proxy of a class that is to be forgotten would teach it again
    kept = np.isin(data.validation.labels, np.unique(data.retain.labels))
    parts = {
        "forget": data.forget,
        "retain": data.retain,
        "neutral": data.test,
        "proxy": data.validation.subset(np.flatnonzero(kept).tolist()),
    }
    sets = {name: _image_set(part, data.classes) for name, part in parts.items()}
    pixels = {
        id_: picture.transpose(1, 2, 0)
        for part in parts.values()
        for id_, picture in zip(part.ids, part.pixels, strict=True)
    }
    return GeneratorData(sets, PixelsInMemory(pixels), data.notes, data.digest())


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
