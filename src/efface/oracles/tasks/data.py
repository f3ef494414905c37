"""Opening a task: its images in forget, retain, validation and test, and a fresh classifier for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.images.labelled import LabelledImages
from efface.oracles.tasks import cifar
from efface.oracles.tasks.casia import read_casia
from efface.oracles.tasks.cifar import read_cifar
from efface.oracles.tasks.digits import read_digits
from efface.oracles.tasks.faces import read_faces
from efface.oracles.tasks.folders import read_folders
from efface.oracles.tasks.forget_sets import Rule, forget_places, named_places, parse_rule
from efface.oracles.tasks.packed import read_packed
from efface.oracles.tasks.settings import DataName, DataSettings, Purpose, TaskSettings
from efface.oracles.tasks.source import Places, Source
from efface.oracles.tasks.splitting import of_some_classes, split_places, thinned
from efface.oracles.tasks.tiles import read_tiles

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier, Normalisation

RAW_VALUES = 255.0


@dataclass(frozen=True)
class TaskData:
    """The images of a task. forget and retain are what originals are trained on.

    notes: what a reader of results must know, one sentence each. validation may hold no images.
    """

    forget: LabelledImages
    retain: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def train(self) -> LabelledImages:
        """All training images, sorted by id: the same whichever of them are to be forgotten."""
        both = self.forget.join(self.retain)
        return both.subset(sorted(range(len(both)), key=lambda place: both.ids[place]))

    def digest(self) -> str:
        """sha256 over names of classes and, set by set, ids, labels and pixels."""
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogateescape"))
        for images in (self.forget, self.retain, self.validation, self.test):
            digest.update(f"\n{images.pixels.shape}\n".encode())
            digest.update("\n".join(images.ids).encode("utf-8", "surrogateescape"))
            digest.update(images.labels.tobytes() + images.pixels.tobytes())
        return digest.hexdigest()


def open_task(task: DataSettings, purpose: Purpose = "score") -> TaskData:
    """The images of a task, always the same for the same settings and files.

    With the purpose `tuning`, another forget set of the same rule is forgotten, and the scored one retained; training,
    validation and test images are the same. Raises `InputError`: where data are missing it says what to get and where
    it must lie.
    """
    rule = parse_rule(task.forget)
    source = of_some_classes(_source(task), task.classes, task.split_seed)
    named = named_places(rule, source)
    places = split_places(
        source, {"validation": task.validation, "test": task.test}, task.split_seed, named, task.limit
    )
    train = places["train"]
    compat = task.split == "compat"
    forget = forget_places(rule, source, train, task.split_seed, tuning=purpose == "tuning", ordered=compat)
    chosen = {
        "forget": forget,
        "retain": np.setdiff1d(train, forget),
        "validation": places["validation"],
        "test": thinned(places["test"], task.limit_test, task.split_seed),
    }
    sets = {name: _images(source, some) for name, some in chosen.items()}
    notes = (*source.notes, *_notes(rule, source, chosen), *_copies(sets))
    return TaskData(**sets, classes=source.classes, notes=notes)


def new_classifier(task: TaskSettings, data: TaskData, seed: int) -> Classifier:
    """A fresh network of the task, in evaluation mode; it takes raw values 0..255 and normalises them itself."""
    from efface.classifiers.architecture import NetworkSettings
    from efface.classifiers.classifier import Classifier
    from efface.classifiers.networks import blocks_of, build

    values = {"classes": len(data.classes), "channels": task.colours, "image_size": task.side}
    network = build(NetworkSettings.read({**task.network.as_dict(), **values}, where="network"), seed)
    return Classifier(
        network,
        classes=data.classes,
        image_size=task.side,
        channels=task.colours,
        normalisation=_normalisation(task, data),
        blocks=blocks_of(network),
    )


def _source(task: DataSettings) -> Source:
    size = (task.side, task.colours)
    readers: dict[DataName, Callable[[], Source]] = {
        "digits": lambda: read_digits(*size),
        "tiles": lambda: read_tiles(*size),
        "faces-age": lambda: read_faces(task.path, *size, task.age_edges),
        "casia-surf": lambda: read_casia(task.path, *size, task.age_edges, compat=task.split == "compat"),
        "cifar10": lambda: read_cifar(task.path, *size),
        "folder": lambda: read_folders(task.path, *size),
        "packed": lambda: read_packed(task.path, *size),
    }
    return readers[task.data]()


def _images(source: Source, places: Places) -> LabelledImages:
    return LabelledImages(
        source.pixels(places), source.labels[places], tuple(source.ids[place] for place in places)
    )


def _notes(rule: Rule, source: Source, chosen: dict[str, Places]) -> list[str]:
    notes = []
    if source.persons is not None:
        held = [source.persons[place] for place in chosen["forget"]]
        others = {source.persons[place] for name in ("validation", "test") for place in chosen[name]}
        shared = set(held) & others
        kept = {source.persons[place] for place in chosen["retain"]} & set(held)
        if shared:
            notes.append(f"{len(shared)} persons of the forget set are in validation or test too")
        if kept:
            notes.append(
                f"{len(kept)} persons of the forget set are in the retain set too: {rule.kind} takes images"
            )
    absent = set(range(len(source.classes))) - set(source.labels[chosen["retain"]].tolist())
    if absent:
        names = ", ".join(source.classes[label] for label in sorted(absent))
        notes.append(f"no retain images of the classes {names}")
    return notes


def _copies(sets: dict[str, LabelledImages]) -> list[str]:
    """What is kept of a forget image elsewhere cannot be told from having remembered it."""
    forgotten = {image.tobytes() for image in sets["forget"].pixels}
    notes = []
    for name in ("retain", "validation", "test"):
        copies = sum(image.tobytes() in forgotten for image in sets[name].pixels)
        if copies:
            notes.append(f"{copies} {name} images have the very pixels of a forget image")
    return notes


def _normalisation(task: TaskSettings, data: TaskData) -> Normalisation:
    from efface.classifiers.classifier import Normalisation

    if task.normalisation == "raw":
        return Normalisation(1.0)
    if task.normalisation == "unit":
        return Normalisation(RAW_VALUES)
    if task.data == "cifar10" and task.colours == len(cifar.MEAN):
        return Normalisation(RAW_VALUES, cifar.MEAN, cifar.STD)
    count, total, squares = 0, 0, 0
    # whole numbers, so that the sums do not depend on which images are to be forgotten
    for images in (data.forget, data.retain):
        values = images.pixels.astype(np.int64)
        count += values[:, 0].size
        total = total + values.sum((0, 2, 3))
        squares = squares + (values**2).sum((0, 2, 3))
    mean = np.asarray(total) / count
    std = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 1.0))
    return Normalisation(RAW_VALUES, tuple((mean / RAW_VALUES).tolist()), tuple((std / RAW_VALUES).tolist()))
