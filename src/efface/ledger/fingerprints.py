"""Fingerprints of the erased list: codes whose bits are permuted and flipped with the ledger's key.

How many bits two codes differ in survives that, so copies of an erased image are found among images that the key's holder
has; without the key a code tells nothing of its picture. This is weaker than a keyed digest, and still personal data. No
thumbnail is kept, so that copies are told by the codes of many parts together, and not by their detail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.images.fingerprints import (
    BITS,
    FINGERPRINT,
    FIXED,
    PARTS,
    VIEWS,
    codes,
    is_flat,
    spectra,
    viewed,
    viewed_parts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.fingerprints import Prints

BITS_APART = 12.0
"""Mean over the parts, of 64 bits, up to which two pictures count as copies; `benchmarks/erased_list.py` measures it."""
WHOLE_APART = 16
"""Bits of the codes of the whole pictures, up to which all parts are compared."""
QUERIES = 64


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
    key: bytes, erased: list[bytes], prints: Prints, most: float = BITS_APART
) -> list[tuple[int, int, float]]:
    """(index in `prints`, index in `erased`, mean bits apart) of copies of erased images, also turned or mirrored ones.

    Of each image the nearest erased one. prints: fingerprints `[N]`.
    """
    if not erased or not len(prints):
        return []
    listed, mask = np.frombuffer(b"".join(erased), np.uint64).reshape(-1, PARTS), Mask.of(key)
    best = dict[int, tuple[int, float]]()
    telling = np.flatnonzero(~is_flat(prints))
    for start in range(0, len(telling), QUERIES):
        rows = telling[start : start + QUERIES]
        spectrum = spectra(prints[rows])
        for view in range(VIEWS):
            masked = mask.on(codes(viewed(spectrum, view)[:, PARTS_IN_VIEW[view]]))
            queries, entries = np.nonzero(
                np.bitwise_count(masked[:, None, 0] ^ listed[None, :, 0]) <= WHOLE_APART
            )
            apart = np.bitwise_count(masked[queries] ^ listed[entries]).mean(axis=1)
            for row, entry, bits in zip(
                rows[queries].tolist(), entries.tolist(), apart.tolist(), strict=True
            ):
                if bits <= most and (row not in best or bits < best[row][1]):
                    best[row] = entry, bits
    return [(row, *best[row]) for row in sorted(best)]


def _bits(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    octets = np.ascontiguousarray(numbers)[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    packed = np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little"))
    numbers: NDArray[np.uint64] = packed.view(np.uint64)[..., 0]
    return numbers


def _parts_in_view(view: int) -> NDArray[np.int64]:
    """For each part of a picture the one that lies in its place when the picture is turned; a box is its own."""
    turned = viewed_parts(FIXED, np.full(len(FIXED), view))
    apart = np.abs(turned[None, :] - FIXED[:, None]).sum(axis=2)
    fixed = apart.argmin(axis=1)
    boxes = PARTS - len(FIXED)
    # boxes stand behind the whole picture, which is its own too
    moved = np.where(fixed > 0, fixed + boxes, 0)
    return np.concatenate([[0], 1 + np.arange(boxes), moved[1:]])


PARTS_IN_VIEW = [_parts_in_view(view) for view in range(VIEWS)]
