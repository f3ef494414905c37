"""Forget images that hide in another set: the same bytes, or nearly the same picture.

Two images are near-duplicates when

1. their perceptual hashes (`imagehash.phash`, 64 bits) differ in at most `distance` bits, the mirrored
   image tried too; and
2. their 8 x 8 colour thumbnails agree: correlation of at least `AGREEMENT` after the mean is removed,
   or, for two flat images (where hash and correlation only see noise), the same colour.

The second test is needed because a hash keeps only the signs of 64 coefficients: distinct pictures of
like layout collide. `benchmarks/duplicates.py` measures what is found and what is found wrongly. Sets
of aligned pictures (faces, digits, scans) have more look-alikes: give them a smaller distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.items import ImageSet

DEFAULT_DISTANCE = 10
AGREEMENT = 0.9
FLAT = 3.0  # grey levels of standard deviation below which a thumbnail counts as flat
SAME_COLOUR = 4.0  # mean difference in grey levels
SIDE = 8  # of the thumbnail
HASHED_SIDE = 32  # what imagehash.phash itself reduces to
FORGET_CHUNK, OTHER_CHUNK = 64, 1 << 16  # 32 MiB of hash differences at a time
CONFIRM_CHUNK = 1 << 14  # 25 MiB of thumbnails at a time


@dataclass(frozen=True, slots=True)
class Pair:
    """A forget image (by index) and the image of another set that duplicates it.

    `distance` counts differing hash bits of 64; 0 for equal bytes.
    """

    forget: int
    other: int
    distance: int
    kind: Literal["exact", "near"]
    mirrored: bool = False


@dataclass(frozen=True)
class Fingerprints:
    """What near-duplicates are found by: hashes uint64 [N], [N]; thumbnails uint8 [N, 8, 8, 3]."""

    plain: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.plain)

    def at(self, indices: Sequence[int] | NDArray[np.int64]) -> Fingerprints:
        chosen = np.asarray(indices, np.int64)
        return Fingerprints(self.plain[chosen], self.mirrored[chosen], self.thumbnails[chosen])

    @classmethod
    def stacked(cls, each: Iterable[tuple[int, int, NDArray[np.uint8]]]) -> Fingerprints:
        """From the results of `fingerprint`."""
        rows = list(each)
        return cls(
            np.array([row[0] for row in rows], np.uint64),
            np.array([row[1] for row in rows], np.uint64),
            np.array([row[2] for row in rows], np.uint8).reshape(-1, SIDE, SIDE, 3),
        )


def fingerprint(image: Image.Image) -> tuple[int, int, NDArray[np.uint8]]:
    """(hash, hash of the mirrored image, thumbnail uint8 [8, 8, 3]) of an RGB image."""
    grey = image.convert("L").resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.LANCZOS)
    thumbnail = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return _phash(grey), _phash(ImageOps.mirror(grey)), thumbnail


def find_duplicates(
    forget: ImageSet,
    other: ImageSet,
    forget_prints: Fingerprints | None = None,
    other_prints: Fingerprints | None = None,
    distance: int = DEFAULT_DISTANCE,
) -> list[Pair]:
    """The images of `other` that duplicate a forget image, each with the nearest one of those.

    An image with equal bytes is paired with the first forget image that has them. Near-duplicates are
    looked for where both fingerprints are given and `distance` is not negative. Sorted by `other`.
    Time grows with len(forget) * len(other), memory with len(other) only.
    """
    first = {image_id: index for index, image_id in reversed(list(enumerate(forget.ids)))}
    pairs = [
        Pair(first[image_id], index, 0, "exact")
        for index, image_id in enumerate(other.ids)
        if image_id in first
    ]
    if forget_prints is not None and other_prints is not None and distance >= 0:
        exact = {pair.other for pair in pairs}
        near = near_pairs(forget_prints, other_prints, distance)
        pairs += [pair for pair in near if pair.other not in exact]
    return sorted(pairs, key=lambda pair: pair.other)


def near_pairs(forget: Fingerprints, other: Fingerprints, distance: int = DEFAULT_DISTANCE) -> list[Pair]:
    """Each image of `other` that nearly equals a forget image, with the nearest of those (by hash)."""
    nearest = np.full(len(other), 255, np.uint8)
    partner = np.zeros(len(other), np.int64)
    flipped = np.zeros(len(other), np.bool_)
    for start in range(0, len(forget), FORGET_CHUNK):
        here = slice(start, start + FORGET_CHUNK)
        for first in range(0, len(other), OTHER_CHUNK):
            there = other.plain[first : first + OTHER_CHUNK]
            for mirrored, hashes in ((False, forget.plain[here]), (True, forget.mirrored[here])):
                bits = np.bitwise_count(hashes[:, None] ^ there[None, :])
                candidates = np.flatnonzero(bits <= distance)
                for part in range(0, len(candidates), CONFIRM_CHUNK):
                    rows, columns = np.divmod(candidates[part : part + CONFIRM_CHUNK], len(there))
                    ours, theirs, d = rows + start, columns + first, bits[rows, columns]
                    kept = _agree(forget.thumbnails[ours], other.thumbnails[theirs], mirrored)
                    kept &= d < nearest[theirs]
                    # Written from far to near, and from last to first: the nearest, earliest one stays.
                    order = np.lexsort((-ours[kept], -d[kept].astype(np.int64)))
                    o = theirs[kept][order]
                    nearest[o], partner[o], flipped[o] = d[kept][order], ours[kept][order], mirrored
    return [
        Pair(int(partner[o]), int(o), int(nearest[o]), "near", bool(flipped[o]))
        for o in np.flatnonzero(nearest < 255)
    ]


def _phash(grey: Image.Image) -> int:
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(grey).hash).tobytes(), "big")


def _agree(ours: NDArray[np.uint8], theirs: NDArray[np.uint8], mirrored: bool) -> NDArray[np.bool_]:
    """Whether thumbnails [N, 8, 8, 3] show the same picture, row by row."""
    left = (ours[:, :, ::-1] if mirrored else ours).reshape(len(ours), -1).astype(np.float32)
    right = theirs.reshape(len(theirs), -1).astype(np.float32)
    same_colour: NDArray[np.bool_] = np.abs(left - right).mean(axis=1) <= SAME_COLOUR
    flat: NDArray[np.bool_] = (left.std(axis=1) < FLAT) & (right.std(axis=1) < FLAT)
    left -= left.mean(axis=1, keepdims=True)
    right -= right.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    correlation = (left * right).sum(axis=1) / np.maximum(scale, 1e-6)
    return np.where(flat, same_colour, correlation >= AGREEMENT)
