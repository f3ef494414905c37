"""Opening a data set: its images in forget, retain, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from efface.images.datasets.forget_rules import ForgetRule, forget_places, named_places, parse_rule
from efface.images.datasets.settings import DatasetSettings, Purpose
from efface.images.datasets.source import Places, Source
from efface.images.datasets.splitting import of_some_classes, split_places, thinned
from efface.images.labelled import LabelledImages
from efface.wording import counted


@dataclass(frozen=True)
class Dataset:
    """The images of a data set. forget and retain are what originals are trained on.

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


def open_dataset(settings: DatasetSettings, purpose: Purpose = "score") -> Dataset:
    """The images of a data set, always the same for the same settings and files.

    With the purpose `tuning`, another forget set of the same rule is forgotten, and the scored one retained; training,
    validation and test images are the same. Raises `InputError`: where data are missing it says what to get and where
    it must lie.
    """
    rule = parse_rule(settings.forget)
    source = of_some_classes(settings.reader.read(settings), settings.classes, settings.split_seed)
    named = named_places(rule, source)
    places = split_places(
        source,
        {"validation": settings.validation, "test": settings.test},
        settings.split_seed,
        named,
        settings.limit,
    )
    train = places["train"]
    compat = settings.split == "compat"
    forget = forget_places(
        rule, source, train, settings.split_seed, tuning=purpose == "tuning", ordered=compat
    )
    chosen = {
        "forget": forget,
        "retain": np.setdiff1d(train, forget),
        "validation": places["validation"],
        "test": thinned(places["test"], settings.limit_test, settings.split_seed),
    }
    sets = {name: _images(source, some) for name, some in chosen.items()}
    notes = (*source.notes, *_notes(rule, source, chosen), *_copies(sets))
    return Dataset(**sets, classes=source.classes, notes=notes)


def _images(source: Source, places: Places) -> LabelledImages:
    return LabelledImages(
        source.pixels(places), source.labels[places], tuple(source.ids[place] for place in places)
    )


def _notes(rule: ForgetRule, source: Source, chosen: dict[str, Places]) -> list[str]:
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
            notes.append(
                counted(copies, f"{name} image has", f"{name} images have")
                + " the very pixels of a forget image"
            )
    return notes
