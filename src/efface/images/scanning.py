"""One pass over the pixels of a set: which images cannot be decoded, and the fingerprints of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.images.duplicates import SIDE, Fingerprints, fingerprint
from efface.images.items import Fault, ImageItem, ImageSet, ReadingError
from efface.images.reading import decode_image
from efface.images.threads import Progress, in_threads

if TYPE_CHECKING:
    from efface.images.cache import PixelCache


@dataclass(frozen=True)
class Scan:
    """Unreadable images, and fingerprints of the others by id."""

    faults: tuple[Fault, ...]
    places: dict[str, int]
    prints: Fingerprints

    def of(self, image_set: ImageSet) -> Fingerprints:
        """The fingerprints of a set's images, in its order. KeyError for an image that was not read."""
        return self.prints.at([self.places[image_id] for image_id in image_set.ids])


def scan(image_set: ImageSet, cache: PixelCache | None = None, progress: Progress | None = None) -> Scan:
    """Decode every image once, into `cache` where one is given."""
    unique = ImageSet({item.id: item for item in image_set}.values())
    if cache is not None:
        faults = cache.add(unique, progress, skip_unreadable=True)
        readable = unique.without({fault.id for fault in faults}).ids
        return Scan(
            faults, {image_id: row for row, image_id in enumerate(readable)}, cache.fingerprints(readable)
        )
    size = len(unique)
    prints = Fingerprints(
        np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros((size, SIDE, SIDE, 3), np.uint8)
    )
    found: list[Fault] = []
    places: dict[str, int] = {}
    for row, (item, outcome) in enumerate(zip(unique, in_threads(_printed, unique), strict=True)):
        if isinstance(outcome, Fault):
            found.append(outcome)
        else:
            places[item.id] = row
            prints.plain[row], prints.mirrored[row], prints.thumbnails[row] = outcome
        if progress:
            progress("checking images", row + 1, size)
    return Scan(tuple(found), places, prints)


def _printed(item: ImageItem) -> tuple[int, int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] | Fault:
    try:
        return fingerprint(decode_image(item.read_bytes()))
    except ReadingError as error:
        return Fault(item.path, error.reason, item.source.where, item.id)
