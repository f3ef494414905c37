"""Making a split file from a data set: which classes, and which of their images.

Classes by the rule `released` (the authors' lists), `random` (drawn with a seed) or `listed` (two lists of one's own);
the images of a class always by draws keyed by seed, data set, part and class, so that no class's draw depends on the
others. Every fault of the data set is told at once, with what to download and where it must lie.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from efface.errors import Faults, InputError
from efface.images.class_parts import DataSet, Part
from efface.images.places import class_name
from efface.images.released_classes import RELEASED
from efface.images.rows import lines_of
from efface.images.splits import PART_OF_ROLE, open_data_set
from efface.images.threads import Progress
from efface.randomness import numpy_draws
from efface.settings import Settings
from efface.wording import counted, printable, several

Classes = dict[str, list[str]]

TRAIN_IMAGES = {"imagenet-1k": 100, "places-365": 5000}
VAL_IMAGES = {"imagenet-1k": 50, "places-365": 100}
CLASSES = {"imagenet-1k": 100, "places-365": 50}
SOURCES = {
    "forget": ("forget", "train"),
    "retain": ("retain", "train"),
    "proxy": ("others", "proxy"),
    "forget-val": ("forget", "val"),
    "retain-val": ("retain", "val"),
    "neutral": ("neutral", "val"),
}
"""For each role the classes it is taken from, and which count of images is asked for."""


class SplitSettings(Settings):
    """How a data set is split. What is not given follows the paper."""

    data_set: Literal["imagenet-1k", "places-365"] = Field(description="which data set")
    root: str = Field(description="the folder in which it lies, in folders or in its official archives")
    rule: Literal["released", "random", "listed"] = Field(
        "released",
        description="classes as in the authors' released lists, drawn with the seed, or from lists of your own",
    )
    seed: int = Field(0, description="seed of the drawn classes, and of the images drawn from each class")
    classes: int | None = Field(
        None, ge=1, description="with rule random: how many classes to forget, and as many to keep (100; 50)"
    )
    forget_classes: str | None = Field(None, description="with rule listed: a file with a class a line")
    retain_classes: str | None = Field(None, description="with rule listed: a file with a class a line")
    neutral_classes: int | None = Field(
        None,
        ge=0,
        description="classes in neither that are only looked at; as many as are forgotten by default",
    )
    per_class: int | None = Field(
        None, ge=1, description="training images of each class, at most (100; 5,000)"
    )
    val_per_class: int | None = Field(
        None, ge=0, description="validation images of each class, at most (50; 100); 0 for none"
    )
    proxy_per_class: int | None = Field(
        None,
        ge=0,
        description="training images of each class in neither, to stand in for the retain set; by default as many as "
        "make the retain set's size; 0 for none",
    )
    val_labels: str | None = Field(
        None, description="where a development kit is missing: a list with file name and class of each image"
    )
    subset: bool = Field(False, description="only some classes are there on purpose")


def make_split(settings: SplitSettings, progress: Progress | None = None) -> dict[str, Any]:
    """The values of a split file; raises one `InputError` with everything that is wrong with the data set."""
    root = os.path.realpath(settings.root)
    data = open_data_set(settings.data_set, root, settings.val_labels)
    takes_val = settings.val_per_class != 0
    with Faults(f"{data.title} in {printable(root)} cannot be split") as faults:
        faults.problems += [data.absent[part] for part in data.absent if part == "train" or takes_val]
    train, val = data.parts["train"], data.parts["val"] if takes_val else None
    assert train is not None
    with Faults(f"{data.title} in {printable(root)} is incomplete") as faults:
        _check_count(train, data, "train", settings, faults)
        if val:
            _check_count(val, data, "val", settings, faults)
        classes = _classes(settings, train.classes(), faults)
        images, counts = _images(settings, data, classes, faults, progress)
    return {
        "data_set": settings.data_set,
        "rule": {"name": settings.rule, "seed": settings.seed},
        "images_per_class": counts,
        "counts": {
            role: {"classes": len(found), "images": sum(map(len, found.values()))}
            for role, found in images.items()
        },
        "classes": {name: classes[name] for name in ("forget", "retain", "neutral")},
        "images": images,
        "root": root,
        "val_labels": settings.val_labels and os.path.realpath(settings.val_labels),
    }


def _classes(settings: SplitSettings, present: Sequence[str], faults: Faults) -> Classes:
    """The classes of each role; `neutral` of those in neither, and `others` all of those."""
    name, count = settings.data_set, settings.classes or CLASSES[settings.data_set]
    order = numpy_draws(settings.seed, "split classes", name).permutation(len(present))
    drawn = [present[place] for place in order]
    if settings.rule == "random":
        if len(present) < 2 * count:
            faults.add(
                f"{2 * count} classes are needed, {count} to forget and to keep each, {len(present)} are there"
            )
        forget, retain = sorted(drawn[:count]), sorted(drawn[count : 2 * count])
    elif settings.rule == "released":
        forget, retain = list(RELEASED[name]["forget"]), list(RELEASED[name]["retain"])
    else:
        forget, retain = _listed(settings, faults)
    chosen = {*forget, *retain}
    if missing := sorted(chosen - set(present)):
        faults.add(f"{len(missing)} of the chosen classes are not there: {several(missing)}")
    wanted = len(forget) if settings.neutral_classes is None else settings.neutral_classes
    rest = [class_ for class_ in drawn if class_ not in chosen]
    return {
        "forget": forget,
        "retain": retain,
        "neutral": sorted(rest[:wanted]),
        "others": sorted(rest),
    }


def _listed(settings: SplitSettings, faults: Faults) -> tuple[list[str], list[str]]:
    lists = []
    for path in (settings.forget_classes, settings.retain_classes):
        if path is None:
            raise InputError(
                "rule listed needs two lists, --forget-classes and --retain-classes: a class a line"
            )
        lines = [class_name(line.split("#")[0]) for _, line in lines_of(path)]
        lists.append(list(dict.fromkeys(line for line in lines if line)))
    if both := sorted(set(lists[0]) & set(lists[1])):
        faults.add(f"classes both to be forgotten and kept: {several(both)}")
    if not lists[0]:
        faults.add(f"{printable(str(settings.forget_classes))} names no class")
    return lists[0], lists[1]


def _images(
    settings: SplitSettings, data: DataSet, classes: Classes, faults: Faults, progress: Progress | None
) -> tuple[dict[str, dict[str, list[str]]], dict[str, int]]:
    """(files of each role by class, how many of a class were asked for by kind)."""
    counts = _counts(settings, classes)
    todo = [
        (role, class_, wanted)
        for role, (kind, count) in SOURCES.items()
        if (wanted := counts[count]) and data.parts[PART_OF_ROLE[role]]
        for class_ in classes[kind]
    ]
    present = {name: set(part.classes()) for name, part in data.parts.items() if part}
    images: dict[str, dict[str, list[str]]] = {role: {} for role in SOURCES}
    too_few: dict[str, list[str]] = {}
    for done, (role, class_, wanted) in enumerate(todo, 1):
        name = PART_OF_ROLE[role]
        part = data.parts[name]
        assert part is not None
        files = list(part.files(class_))
        least = wanted if settings.subset else min(wanted, data.least[name])
        if settings.subset and role == "proxy" and settings.proxy_per_class is None:
            least = 1  # nobody asked for so many
        if len(files) < least and (class_ in present[name] or name == "val"):
            too_few.setdefault(f"{name} images, {least:,} are needed", []).append(f"{class_} {len(files)}")
        draws = numpy_draws(settings.seed, "split images", data.name, name, class_)
        chosen = sorted(draws.permutation(len(files))[:wanted].tolist())
        images[role][class_] = [files[place] for place in chosen]
        if progress:
            progress("listing classes", done, len(todo))
    for what, found in too_few.items():
        faults.add(
            f"too few {what}, in {counted(len(set(found)), 'class', 'classes')}: {several(sorted(set(found)))}. An "
            "unpacking or a download may have stopped halfway: repeat it, or ask for less (--per-class, "
            "--val-per-class, --proxy-per-class)"
        )
    return images, counts


def _counts(settings: SplitSettings, classes: Classes) -> dict[str, int]:
    """How many images of a class are asked for, by kind."""
    name, others = settings.data_set, len(classes["others"])
    train = settings.per_class or TRAIN_IMAGES[name]
    val = VAL_IMAGES[name] if settings.val_per_class is None else settings.val_per_class
    proxy = settings.proxy_per_class
    if proxy is None:
        proxy = math.ceil(len(classes["retain"]) * train / others) if others else 0
    return {"train": train, "val": val, "proxy": proxy}


def _check_count(part: Part, data: DataSet, name: str, settings: SplitSettings, faults: Faults) -> None:
    count = len(part.classes())
    if count != data.count and not settings.subset:
        faults.add(
            f"its {name} images are of {count:,} classes instead of {data.count:,}. An unpacking may have stopped "
            "halfway: repeat it, or give --subset if only some classes are there on purpose"
        )
