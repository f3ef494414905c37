"""What the erased list of a ledger finds of copies, by codes alone, and how near pictures come that are no copies.

    python benchmarks/erased_list.py --data DATA_FOLDER [--photos N]
    python benchmarks/erased_list.py --smoke

Photos are edited as in `benchmarks/duplicates.py` and looked for among the masked codes of their originals. Half of the
photos are looked for among the other half: how many bits of 64 the nearest of these differ by.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from duplicates import EDITS
from efface.images.fingerprints import BITS, fingerprint, stacked
from efface.images.reading import decode_image
from efface.images.sources import open_images
from efface.ledger.fingerprints import BITS_APART, copies_of_erased, masked_codes

KEY = bytes(32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with imagenet256.npz and faces-age64-test.npz")
    parser.add_argument("--photos", type=int, default=200, help="of each set")
    parser.add_argument("--smoke", action="store_true", help="a few bundled photos")
    options = parser.parse_args()
    if options.smoke or options.data is None:
        tell("bundled", [decode_image(item.read_bytes()) for item in open_images("bundled")][:6])
    for name in ("imagenet256", "faces-age64-test") if options.data else ():
        with np.load(options.data / f"{name}.npz") as stored:
            ends, data = stored["offset"], stored["bytes"]
        count = min(options.photos, len(ends) - 1)
        tell(name, [decode_image(data[ends[i] : ends[i + 1]].tobytes()) for i in range(count)])


def tell(name: str, photos: list[Image.Image]) -> None:
    listed = [masked_codes(KEY, fingerprint(photo).tobytes()) for photo in photos]
    there = [place for place, codes in enumerate(listed) if codes]
    erased = [codes for codes in listed if codes]
    half = len(there) // 2
    others = stacked(fingerprint(photos[place]) for place in there[half:])
    apart = [bits for _, _, bits in copies_of_erased(KEY, erased[:half], others, most=BITS)]
    pairs = half * (len(there) - half)
    nearest = f"{min(apart):.1f} bits" if apart else f"more than {BITS} bits"
    print(
        f"{name}: {len(there)} of {len(photos)} photos have codes; nearest of {pairs} unlike pairs: {nearest}"
    )
    draws = np.random.default_rng(0)
    for edit_name, (_, edit) in EDITS.items():
        queries = stacked(fingerprint(edit(photos[place], draws)) for place in there)
        found = sum(row == entry for row, entry, _ in copies_of_erased(KEY, erased, queries))
        print(f"  {edit_name:<28} {found:>4} of {len(there)} at {BITS_APART:g} bits or fewer")


if __name__ == "__main__":
    main()
