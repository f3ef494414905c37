"""Images in a folder: the label is the first sub-folder below it, none for files directly in it.

Links to files and folders are followed, each folder once. Names come as the system gives them, bytes that
are not UTF-8 as surrogates; the order is that of the names' bytes. Files that are hidden or lack an image suffix
are among the `others`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from efface.images.items import ImageItem
from efface.images.listings import Candidate, FileLocator, Listing, is_image_name
from efface.wording import printable

PARTS = frozenset(
    ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "holdout")
)
"""Names of folders for the parts of a data set."""
LITTER_FOLDERS = (
    ".ipynb_checkpoints", ".git", ".svn", ".hg", ".dvc", ".cache", ".thumbnails", ".@__thumb", ".AppleDouble", ".Trashes",
    ".Spotlight-V100", ".fseventsd", ".TemporaryItems", ".DocumentRevisions-V100",
)  # fmt: skip
"""Hidden folders of programs and systems. What they hold of pictures are copies."""


def list_folder(folder: str | Path, hidden: bool = False) -> Listing:
    """Every image file below `folder`; `hidden`: hidden folders are walked too, but for those of systems."""
    given = os.fspath(folder)
    listing = Listing(root=os.path.realpath(given))
    _walk(given, listing.root or given, None, listing, set(), hidden)
    _take_classes_below_parts(given, listing)
    return listing


def list_file(path: str | Path) -> Listing:
    """One image file, whatever its suffix."""
    given = os.fspath(path)
    real = os.path.realpath(given)
    return Listing([Candidate(given, FileLocator(real))], os.path.dirname(real))


def _walk(
    given: str, real: str, label: str | None, listing: Listing, seen: set[tuple[int, int]], hidden: bool
) -> None:
    status = os.stat(real)
    if (status.st_dev, status.st_ino) in seen:
        listing.omitted["(folder linked twice)"] += 1
        return
    seen.add((status.st_dev, status.st_ino))
    top = len(seen) == 1
    try:
        with os.scandir(real) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        listing.problems.append(f"folder {printable(given)} cannot be read: {error.strerror}")
        return
    for entry in entries:
        name = os.path.join(given, entry.name)
        place = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        if entry.is_dir():
            if entry.name.startswith(".") and (entry.name in LITTER_FOLDERS or not hidden):
                listing.omitted["(hidden)"] += 1
            else:
                _walk(name, place, entry.name if top else label, listing, seen, hidden)
        else:
            files = listing.candidates if is_image_name(entry.name) else listing.others
            files.append(Candidate(name, FileLocator(place), label))


def _take_classes_below_parts(folder: str, listing: Listing) -> None:
    """Where all sub-folders hold the parts of a data set, and each of these folders for classes, these are the labels."""

    def parts(file: Candidate) -> list[str]:
        return file.path[len(folder) :].strip(os.sep).split(os.sep)

    files = [parts(file) for file in (*listing.candidates, *listing.others)]
    if not files or not all(len(names) > 2 and names[0].lower() in PARTS for names in files):
        return
    listing.candidates = [replace(file, label=parts(file)[1]) for file in listing.candidates]
    listing.others = [replace(file, label=parts(file)[1]) for file in listing.others]
    found = ", ".join(sorted({printable(names[0]) for names in files}))
    listing.notes.append(
        f"the folders {found} hold the parts of a data set: classes are the folders in them, and all parts are taken; to "
        "keep one apart give the others one by one"
    )


def parts_not_classes(images: Iterable[ImageItem]) -> str | None:
    """A sentence where all labels are those of folders for the parts of a data set, such as `train` and `test`."""
    labels = set[str]()
    for item in images:
        if item.label is None:
            continue
        if item.label.lower() not in PARTS or item.label not in Path(item.source.where).parts[:-1]:
            return None
        labels.add(item.label)
    if not labels:
        return None
    return (
        f"the folders {', '.join(sorted(labels))} hold the parts of a data set, and their names are no classes: give one "
        f"part with --images (FOLDER/{min(labels)}) and others with --neutral, or a manifest with a column label"
    )
