"""One pass over the pixels of a set: which images cannot be decoded, and the fingerprints of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.images.fingerprints import FINGERPRINT, PrintRows, fingerprint
from efface.images.items import Fault, ImageItem, ImageSet, ReadingError
from efface.images.reading import decode_image
from efface.images.threads import Progress, in_threads

if TYPE_CHECKING:
    from efface.images.cache import PixelCache
    from efface.images.fingerprints import Prints


@dataclass(frozen=True)
class Scan:
    """Unreadable images, and fingerprints of the others by id."""

    faults: tuple[Fault, ...]
    places: dict[str, int]
    prints: PrintRows

    def of(self, image_set: ImageSet) -> PrintRows:
        """The fingerprints of a set's images, in its order. KeyError for an image that was not read."""
        return self.prints.at(np.array([self.places[image_id] for image_id in image_set.ids], np.int64))


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
    prints = np.zeros(size, FINGERPRINT)
    unreadable: list[Fault] = []
    places: dict[str, int] = {}
    for row, (item, outcome) in enumerate(zip(unique, in_threads(_printed, unique), strict=True)):
        if isinstance(outcome, Fault):
            unreadable.append(outcome)
        else:
            places[item.id] = row
            prints[row] = outcome
        if progress:
            progress("checking images", row + 1, size)
    return Scan(tuple(unreadable), places, PrintRows.all_of(prints))


def _printed(item: ImageItem) -> Prints | Fault:
    try:
        return fingerprint(decode_image(item.read_bytes()))
    except ReadingError as error:
        return Fault(item.path, error.reason, item.source.where, item.id)
