"""Fingerprints of the erased list: codes whose bits are permuted and flipped with the ledger's key.

How many bits two codes differ in survives that, so copies of an erased image are found among images that the key's holder
has; without the key a code tells nothing of its picture. This is weaker than a keyed digest, and still personal data. No
thumbnail is kept that could be laid over another: a copy is told by the code of one part alone, and so must come nearer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.images.fingerprints import (
    BITS,
    FINGERPRINT,
    PARTS,
    VIEWS,
    WHOLES,
    codes,
    is_flat,
    spectra,
    viewed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.fingerprints import Prints

BITS_APART = 5
"""Bits of 64 up to which the whole of one picture and a part of another count as the same (`benchmarks/erased_list.py`)."""
LISTED = 512
"""Erased images that are compared in one go."""
QUERIES = 32


@dataclass(frozen=True)
class Mask:
    """What the key does with a code: the bits' new order, and which are flipped."""

    order: NDArray[np.int64]
    flips: NDArray[np.uint8]

    @classmethod
    def of(cls, key: bytes) -> Mask:
        """The mask of a ledger's key."""
        stream = hashlib.shake_256(b"efface erased list" + key).digest(BITS * 8 + BITS)
        order = np.argsort(np.frombuffer(stream[: BITS * 8], np.uint64), kind="stable")
        return cls(order, np.bitwise_and(np.frombuffer(stream[BITS * 8 :], np.uint8), np.uint8(1)))

    def on(self, plain: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Masked codes `[...]`."""
        return _packed(_bits(plain)[..., self.order] ^ self.flips)

    def off(self, masked: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The codes behind masked ones `[...]`."""
        bits = np.empty((*masked.shape, BITS), np.uint8)
        bits[..., self.order] = _bits(masked) ^ self.flips
        return _packed(bits)


def masked_codes(key: bytes, fingerprint: bytes) -> bytes | None:
    """What the erased list keeps of an image: its parts' codes, masked; None of a picture with little in it."""
    prints = np.frombuffer(fingerprint, FINGERPRINT)
    if is_flat(prints)[0] or prints["plain"][0]:
        return None
    return Mask.of(key).on(codes(spectra(prints))).tobytes()


def masked_anew(masked: bytes, key: bytes, new_key: bytes) -> bytes:
    """The same codes under another key."""
    plain = Mask.of(key).off(np.frombuffer(masked, np.uint64))
    return Mask.of(new_key).on(plain).tobytes()


def copies_of_erased(
    key: bytes, erased: list[bytes], prints: Prints, most: int = BITS_APART
) -> list[tuple[int, int, int]]:
    """(index in `prints`, index in `erased`, bits apart) of copies of erased images, also cropped, framed or turned ones.

    A copy shows the whole of one picture where the other has a part: one bit less than `most` is allowed where it is turned
    or mirrored. Of each image the nearest erased one. prints: fingerprints `[N]`.
    """
    if not erased or not len(prints):
        return []
    listed, mask = np.frombuffer(b"".join(erased), np.uint64).reshape(-1, PARTS), Mask.of(key)
    best = dict[int, tuple[int, int]]()
    telling = np.flatnonzero(~is_flat(prints))
    for start in range(0, len(telling), QUERIES):
        rows = telling[start : start + QUERIES]
        spectrum = spectra(prints[rows])
        wholes = [mask.on(codes(viewed(spectrum[:, :WHOLES], view))) for view in range(VIEWS)]
        parts = mask.on(codes(spectrum))
        for first in range(0, len(listed), LISTED):
            some = listed[first : first + LISTED]
            upright = np.minimum(_nearest(wholes[0], some), _nearest(some[:, :WHOLES], parts).T)
            turned = np.min([_nearest(each, some) for each in wholes[1:]], axis=0)
            apart = np.minimum(upright, turned + 1)
            entries = apart.argmin(axis=1)
            for row, entry, bits in zip(
                rows.tolist(), entries.tolist(), apart.min(axis=1).tolist(), strict=True
            ):
                if bits <= most and (row not in best or bits < best[row][1]):
                    best[row] = first + entry, bits
    return [(row, *best[row]) for row in sorted(best)]


def _nearest(wholes: NDArray[np.uint64], parts: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bits between the nearest of wholes `[N, WHOLES]` and of parts `[M, PARTS]`: `[N, M]`."""
    each = [np.bitwise_count(whole[:, None, None] ^ parts).min(axis=2) for whole in wholes.T]
    nearest: NDArray[np.uint8] = np.min(each, axis=0)
    return nearest


def _bits(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    octets = np.ascontiguousarray(numbers)[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    packed = np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little"))
    numbers: NDArray[np.uint64] = packed.view(np.uint64)[..., 0]
    return numbers
