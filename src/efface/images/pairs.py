"""Pairs: for each image the file that a model is shown in its place.

A folder holds a file for each image under the image's own name: the same name below it as below the images'
folder ("cats/1"), whatever the suffix. A table (CSV or JSON) has columns `image` and `condition`: paths relative to its
folder, `image` also as sha256. It may name more images than are asked for.

The other pictures are decoded into the cache of the images, and leave with it: what is shown in the place of a
forgotten image is forgotten content too.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from efface.errors import InputError
from efface.files import no_such, sha256_of_bytes
from efface.images.folders import list_folder
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import Candidate, FileLocator, Listing
from efface.images.lists import SHA256
from efface.images.names import Names
from efface.images.rows import JSON_SUFFIXES, TABLE_SUFFIXES, rows_of
from efface.images.sources import identify, passed_over_text
from efface.images.threads import Progress
from efface.wording import printable, several

if TYPE_CHECKING:
    from efface.images.cache import PixelCache

COLUMNS = ("image", "condition")
"""How many faults of one kind are told by name."""


class PairFaults:
    """Faults by kind, each with the names of the images that have it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.kinds: dict[str, list[str]] = {}
        self.others: list[str] = []

    def add(self, kind: str, name: str, detail: str = "") -> None:
        self.kinds.setdefault(kind, []).append(
            printable(name) + (f" ({printable(detail)})" if detail else "")
        )

    def stop_if_any(self, hint: str = "") -> None:
        """Raise one `InputError` that counts each kind and names the first of it."""
        problems = list(self.others)
        for kind, names in self.kinds.items():
            problems.append(f"{kind} ({len(names)}): {several(names)}")
        if problems:
            raise InputError(*problems, what=f"the pairs in {printable(self.source)} cannot be used{hint}")


def open_pairs(
    source: str | Path, images: ImageSet, cache: PixelCache, progress: Progress | None = None
) -> dict[str, str]:
    """The id of each image's other picture, by the image's id; both are in `cache` afterwards.

    source: a folder, or a table. Raises one `InputError` that names the images without a
    picture, with more than one, with one that cannot be read, and with one of other proportions: resized to
    the image's height, its width differs by more than a pixel.
    """
    name = os.fspath(source)
    faults = PairFaults(name)
    if os.path.isdir(name):
        listing, chosen = _by_name(name, images, faults)
    elif not os.path.exists(name):
        raise InputError(f"{printable(name)}: {no_such(name)}")
    elif os.path.splitext(name)[1].lower() in (*TABLE_SUFFIXES, *JSON_SUFFIXES):
        listing, chosen = _by_manifest(Path(name), images, faults)
    else:
        raise InputError(
            f"{printable(name)}: pairs are given as a folder, or as CSV or JSON with columns image, condition"
        )
    pairs = _read(listing, chosen, images, cache, faults, progress)
    hint = passed_over_text(listing.passed_over) if faults.kinds else ""
    faults.stop_if_any(hint)
    return pairs


def _by_name(folder: str, images: ImageSet, faults: PairFaults) -> tuple[Listing, dict[str, Candidate]]:
    """The files of a folder, and the one that is named as each image is, by the image's id."""
    listing = list_folder(folder)
    faults.others += listing.problems
    named: dict[str, list[Candidate]] = {}
    for candidate in listing.candidates:
        stem = os.path.splitext(os.path.relpath(candidate.path, folder))[0]
        named.setdefault(unicodedata.normalize("NFC", stem).replace(os.sep, "/"), []).append(candidate)
    chosen: dict[str, Candidate] = {}
    taken: dict[str, ImageItem] = {}
    for item in images:
        found = _longest_match(item.path, named)
        if not found:
            faults.add("images have no file of their name", item.path)
        elif len(found) > 1:
            names = " and ".join(sorted(os.path.basename(candidate.path) for candidate in found))
            faults.add("images have several files of their name", item.path, names)
        elif (other := taken.setdefault(found[0].source.where, item)).id != item.id:
            faults.add("images share their file with another image", item.path, f"as {other.path}")
        elif not _same(chosen.setdefault(item.id, found[0]), found[0]):
            faults.add("images lie there twice, each with a file of its own", item.path)
    return _only(listing, chosen.values()), chosen


def _longest_match(path: str, named: Mapping[str, list[Candidate]]) -> list[Candidate]:
    """The files whose name below their folder is an end of the image's path, the longest end there is."""
    parts = unicodedata.normalize("NFC", os.path.splitext(path)[0]).replace(os.sep, "/").split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((named[end] for end in ends if end in named), [])


def _by_manifest(path: Path, images: ImageSet, faults: PairFaults) -> tuple[Listing, dict[str, Candidate]]:
    """What a manifest names, and the condition of each image, by the image's id."""
    folder = os.fspath(path.parent)
    names = Names([folder], within=[folder])
    by_place = {item.source.where: item.id for item in images}
    wanted = set(images.ids)
    chosen: dict[str, Candidate] = {}
    listing = Listing(root=os.path.realpath(folder))
    for read in rows_of(path, COLUMNS):
        row = f"{printable(path.name)} {read.place}"
        image, condition = (read.values.get(column) for column in COLUMNS)
        if read.problem or not (
            isinstance(image, str) and image and isinstance(condition, str) and condition
        ):
            faults.others.append(f"{row}: " + (read.problem or "needs both an 'image' and a 'condition'"))
            continue
        id_, problem = _image_id(image, names, by_place)
        if problem:
            faults.others.append(f"{row} ({printable(image)}): {problem}")
        if id_ not in wanted:
            continue
        if not (shown := names.find(condition)):
            faults.others.append(f"{row} ({printable(condition)}): {names.why_not(condition)}")
            continue
        candidate = Candidate(shown, FileLocator(os.path.realpath(shown)), row=row)
        if not _same(chosen.setdefault(id_, candidate), candidate):
            faults.add("images have several rows with unlike conditions", image, row)
    for item in {item.id: item for item in images}.values():
        if item.id not in chosen:
            faults.add("images have no row", item.path)
    return _only(listing, chosen.values()), chosen


def _image_id(name: str, names: Names, by_place: Mapping[str, str]) -> tuple[str, str]:
    """(id, problem) of the image that a row names: by place, else by content. No id where it is not asked for."""
    if SHA256.fullmatch(name):
        return name.lower(), ""
    if not (path := names.find(name)):
        return "", names.why_not(name)
    real = os.path.realpath(path)
    if real in by_place:
        return by_place[real], ""
    try:
        return sha256_of_bytes(FileLocator(real).read_bytes()), ""
    except OSError as error:
        return "", f"cannot be read ({error.strerror or error})"


def _same(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are one file, or two of the same bytes."""
    if one.source.where == other.source.where:
        return True
    try:
        return one.source.read_bytes() == other.source.read_bytes()
    except OSError:
        return False


def _only(listing: Listing, candidates: Iterable[Candidate]) -> Listing:
    """The listing with these candidates alone, each file once."""
    kept = {candidate.source.where: candidate for candidate in candidates}
    return Listing(list(kept.values()), listing.root, listing.passed_over)


def _read(
    listing: Listing,
    chosen: Mapping[str, Candidate],
    images: ImageSet,
    cache: PixelCache,
    faults: PairFaults,
    progress: Progress | None,
) -> dict[str, str]:
    """Decode the conditions into the cache and compare their proportions with the images'."""
    conditions, unreadable, problems = identify(listing, progress)
    faults.others += problems
    # what could be read is stored although another one could not: the next attempt then goes on from there
    bad = [*unreadable, *cache.add(conditions, progress, skip_unreadable=True)]
    for fault in {fault.where: fault for fault in bad}.values():
        faults.add("other pictures cannot be read", fault.path, fault.reason)
    broken = {fault.where for fault in bad}
    ids = {item.source.where: item.id for item in conditions if item.source.where not in broken}
    cache.add(images.without({id_ for id_ in images.ids if id_ in cache}), progress)
    pairs: dict[str, str] = {}
    for item in {item.id: item for item in images}.values():
        candidate = chosen.get(item.id)
        if candidate is None or candidate.source.where not in ids:
            continue
        pairs[item.id] = ids[candidate.source.where]
        height, width = cache.read(item.id).shape[:2]
        other_height, other_width = cache.read(pairs[item.id]).shape[:2]
        if abs(other_width * height / other_height - width) > 1:
            sizes = f"{width} x {height}, the other picture {other_width} x {other_height}"
            faults.add("pairs are of unlike proportions", item.path, sizes)
    return pairs
