"""Images of one set that are copies of images of another: the same bytes, or the same picture.

What counts as the same picture is `copy_index`'s to say; `benchmarks/duplicates.py` measures what is found and what is
found wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from efface.images.copy_index import DEFAULT_AGREEMENT, SEGMENT, CopyIndex

if TYPE_CHECKING:
    from efface.images.fingerprints import PrintRows
    from efface.images.items import ImageSet
    from efface.images.threads import Progress

READ = 2048  # fingerprints at a time
ONLY_EXACT = 1.0
"""The agreement at which nothing but equal bytes counts."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image of one set (by index) and the image of the other set that is a copy of it.

    agreement: how well their detail agrees, 1 for equal bytes. turned: one is mirrored or turned against the other.
    """

    ours: int
    other: int
    agreement: float
    kind: Literal["exact", "near"]
    turned: bool = False


def find_copies(
    ours: ImageSet,
    others: ImageSet,
    our_prints: PrintRows | None = None,
    other_prints: PrintRows | None = None,
    agreement: float = DEFAULT_AGREEMENT,
    progress: Progress | None = None,
) -> list[Pair]:
    """The images of `others` that are copies of one of `ours`, each with the one that it agrees with best.

    An image with equal bytes is paired with the first that has them. Other copies are looked for where both
    fingerprints are given, in the order of the sets, and `agreement` is below 1. Sorted by `other`.
    """
    first = {image_id: index for index, image_id in reversed(list(enumerate(ours.ids)))}
    pairs = [
        Pair(first[image_id], index, 1.0, "exact")
        for index, image_id in enumerate(others.ids)
        if image_id in first
    ]
    if our_prints is not None and other_prints is not None and agreement < ONLY_EXACT:
        exact = {pair.other for pair in pairs}
        rest = np.array([index for index in range(len(others)) if index not in exact], np.int64)
        pairs += [
            Pair(pair.ours, int(rest[pair.other]), pair.agreement, "near", pair.turned)
            for pair in near_copies(our_prints, other_prints.at(rest), agreement, progress)
        ]
    return sorted(pairs, key=lambda pair: pair.other)


def near_copies(
    ours: PrintRows,
    others: PrintRows,
    agreement: float = DEFAULT_AGREEMENT,
    progress: Progress | None = None,
) -> list[Pair]:
    """Each of `others` that shows the same as one of `ours`, with the one that it agrees with best.

    Memory is bounded: ours are indexed by segments, the others read a few at a time.
    """
    best: dict[int, Pair] = {}
    for first in range(0, len(ours) if len(others) else 0, SEGMENT):
        index = CopyIndex()
        index.add(ours.read(first, first + SEGMENT))
        for start in range(0, len(others), READ):
            matches = index.query(others.read(start, start + READ), agreement)
            columns = (matches.query + start, matches.entry + first, matches.agreement, matches.turned)
            for other, our, value, turned in zip(*(each.tolist() for each in columns), strict=True):
                if other not in best or value > best[other].agreement:
                    best[other] = Pair(our, other, value, "near", turned)
            if progress:
                progress("comparing images", min(start + READ, len(others)), len(others))
    return [best[other] for other in sorted(best)]
