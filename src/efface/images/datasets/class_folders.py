"""Images in one folder for each class, perhaps inside folders for training, validation and test."""

from __future__ import annotations

import os

import numpy as np

from efface.errors import Faults, InputError
from efface.images.class_parts import first_folder, folders_of
from efface.images.datasets.source import Part, Source, from_files, needed_path
from efface.images.folders import list_folder
from efface.images.items import Locator
from efface.wording import counted, printable

PART_FOLDERS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
WHAT = "one folder of images for each class, perhaps inside train/, val/ and test/"


def read_folders(path: str | None, side: int, channels: int) -> Source:
    """The images below `path`; ids are their names below it. Classes are those of the training images, sorted.

    Raises one `InputError` for all that is wrong.
    """
    root = needed_path(path, "images by folder", WHAT)
    if not os.path.isdir(root):
        raise InputError(f"{printable(root)} is no folder; it must hold {WHAT}")
    found = {part: first_folder(root, names) for part, names in PART_FOLDERS.items()}
    if found["train"] is None:
        return _source(root, {"train": root}, side, channels, in_parts=False)
    return _source(
        root, {part: place for part, place in found.items() if place}, side, channels, in_parts=True
    )


def _source(root: str, folders: dict[Part, str], side: int, channels: int, in_parts: bool) -> Source:
    ids: list[str] = []
    files: list[Locator] = []
    names: list[str] = []
    parts: list[Part] = []
    classes = sorted(folders_of(folders["train"]))
    with Faults(f"{printable(root)} cannot be used as a task") as faults:
        if len(classes) < 2:
            faults.add(f"{len(classes)} folders in {printable(folders['train'])}; it must hold {WHAT}")
        for part, folder in folders.items():
            listing = list_folder(folder)
            for problem in listing.problems:
                faults.add(problem)
            loose = sum(one.label is None for one in listing.candidates)
            if loose:
                faults.add(
                    f"{counted(loose, 'image lies', 'images lie')} directly in {printable(folder)}; "
                    "put them in the folders of their classes"
                )
            foreign = {str(one.label) for one in listing.candidates if one.label is not None} - set(classes)
            if foreign:
                faults.add(
                    f"{part}: no training images of {', '.join(printable(name) for name in sorted(foreign))}"
                )
            for one in listing.candidates:
                ids.append(os.path.relpath(one.path, root))
                files.append(one.source)
                names.append(str(one.label))
                parts.append(part)
        empty = sorted(
            set(classes) - {name for name, part in zip(names, parts, strict=True) if part == "train"}
        )
        if empty:
            faults.add(
                f"no images in {', '.join(printable(name) for name in empty)}; remove the folders, or fill them"
            )
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    pixels = from_files(files, side, channels)
    return Source(tuple(ids), labels, tuple(classes), pixels, tuple(parts) if in_parts else None, root=root)
