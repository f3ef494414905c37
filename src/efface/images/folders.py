"""Images in a folder: the label is the first sub-folder below it, none for files directly in it.

Links to files and folders are followed, each folder once. Names come as the system gives them, bytes that
are not UTF-8 as surrogates; the order is that of the names' bytes. Hidden files and folders, and files
without an image suffix, are counted as passed over.
"""

from __future__ import annotations

import os
from pathlib import Path

from efface.images.listings import Candidate, FileLocator, Listing, is_image_name, suffix_of


def list_folder(folder: str | Path) -> Listing:
    """Every image file below `folder`."""
    given = os.fspath(folder)
    listing = Listing(root=os.path.realpath(given))
    _walk(given, listing.root or given, None, listing, set())
    return listing


def list_file(path: str | Path) -> Listing:
    """One image file, whatever its suffix."""
    given = os.fspath(path)
    real = os.path.realpath(given)
    return Listing([Candidate(given, FileLocator(real))], os.path.dirname(real))


def _walk(given: str, real: str, label: str | None, listing: Listing, seen: set[tuple[int, int]]) -> None:
    status = os.stat(real)
    if (status.st_dev, status.st_ino) in seen:
        listing.passed_over["(folder linked twice)"] += 1
        return
    seen.add((status.st_dev, status.st_ino))
    top = len(seen) == 1
    try:
        with os.scandir(real) as found:
            entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        listing.problems.append(f"folder {given} cannot be read: {error.strerror}")
        return
    for entry in entries:
        name = os.path.join(given, entry.name)
        place = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        if entry.name.startswith("."):
            listing.passed_over["(hidden)"] += 1
        elif entry.is_dir():
            _walk(name, place, entry.name if top else label, listing, seen)
        elif is_image_name(entry.name):
            listing.candidates.append(Candidate(name, FileLocator(place), label))
        else:
            listing.passed_over[suffix_of(entry.name)] += 1
