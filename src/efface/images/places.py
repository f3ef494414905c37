"""Places365-Standard where it lies, in either of its layouts.

`places365_standard/{train,val}/CLASS/*.jpg` (the easy layout), or the small or large images as their archives unpack:
`data_256/a/airfield/*.jpg` for training, and `val_256/Places365_val_*.jpg` with the lists `places365_val.txt` and
`categories_places365.txt` for validation. Nothing of the data set comes with efface.

A class is called as in the easy layout: `/a/arena/hockey` of the lists is `arena-hockey`.
"""

from __future__ import annotations

import os

from efface.errors import InputError
from efface.images.class_parts import (
    DataSet,
    FolderPart,
    LabelledPart,
    Part,
    files_of,
    first_folder,
    folders_of,
)
from efface.images.rows import lines_of
from efface.wording import printable

TRAIN = ("train", "places365_standard/train", "data_256", "data_256_standard", "train_256",
         "data_large", "data_large_standard")  # fmt: skip
VAL = ("val", "places365_standard/val", "val_256", "val_large")
LISTS = ("", "filelist_places365-standard", "val_256", "val_large")
LABELS, CATEGORIES = "places365_val.txt", "categories_places365.txt"
SITE = "places2.csail.mit.edu (Places365-Standard)"


def open_places(root: str, val_labels: str | None = None) -> DataSet:
    """The data set below `root`; a damaged list raises `InputError`."""
    absent: dict[str, str] = {}
    parts = {"train": _train(root, absent), "val": _val(root, val_labels, absent)}
    return DataSet("places-365", "Places365", root, 365, {"train": 3068, "val": 100}, parts, absent)


def class_name(text: str) -> str:
    """The name of a class in the easy layout, from any way of writing it.

    >>> class_name("/a/arena/hockey"), class_name("b/bar/"), class_name("arena-hockey")
    ('arena-hockey', 'bar', 'arena-hockey')
    """
    parts = text.strip().strip("/").split("/")
    return "-".join(parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts)


def _train(root: str, absent: dict[str, str]) -> Part | None:
    folder = first_folder(root, TRAIN)
    if folder and (classes := _classes(folder)):
        return FolderPart(classes)
    absent["train"] = (
        f"the training images are not there: {printable(root)} has no folder {', '.join(TRAIN)} with the classes' "
        f"folders in it. Download places365standard_easyformat.tar (21 GB), or train_256_places365standard.tar "
        f"(24 GB), from {SITE} and unpack it there"
    )
    return None


def _val(root: str, val_labels: str | None, absent: dict[str, str]) -> Part | None:
    folder = first_folder(root, VAL)
    if folder and (classes := _classes(folder)):
        return FolderPart(classes)
    files = files_of(folder) if folder else {}
    if not files:
        absent["val"] = (
            f"the validation images are not there: {printable(root)} has no folder {', '.join(VAL)} with images. "
            f"Download places365standard_easyformat.tar (21 GB), or val_256.tar (501 MB), from {SITE} and unpack it "
            "there"
        )
        return None
    labels, categories = val_labels or _list(root, LABELS), _list(root, CATEGORIES)
    if not (labels and categories):
        missing = [name for name, found in ((LABELS, labels), (CATEGORIES, categories)) if not found]
        absent["val"] = (
            f"the classes of the validation images are not known: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not in {printable(root)}. Download "
            f"filelist_places365-standard.tar from {SITE} and unpack it there"
        )
        return None
    return LabelledPart.joined(files, _labels(labels, categories))


def _list(root: str, name: str) -> str | None:
    """Where a list of the data set lies."""
    return next((path for place in LISTS if os.path.isfile(path := os.path.join(root, place, name))), None)


def _labels(labels: str, categories: str) -> dict[str, str]:
    """Class by file name without suffix."""
    names = {number: class_name(name) for name, number in _rows(categories)}
    try:
        return {os.path.splitext(name)[0]: names[number] for name, number in _rows(labels)}
    except KeyError as error:
        raise InputError(
            f"{printable(labels)} names a class {error.args[0]} that {printable(categories)} does not have"
        ) from None


def _rows(path: str) -> list[tuple[str, int]]:
    """The rows "name number" of a list of the data set."""
    try:
        rows = [line.split() for _, line in lines_of(path)]
        return [(name, int(number)) for name, number in rows]
    except ValueError:
        raise InputError(f"{printable(path)} cannot be read: a line is a name and a number") from None


def _classes(folder: str) -> dict[str, str]:
    """The folders of classes below `folder` by the class's name, however deep they lie."""
    found: dict[str, str] = {}
    for name, path in folders_of(folder).items():
        inner = _classes(path)
        for below, place in inner.items():
            found[below if len(name) == 1 else f"{name}-{below}"] = place
        if not inner:
            found[name] = path
    return found
