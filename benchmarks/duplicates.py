"""What near-duplicate detection finds, and what it finds wrongly, on labelled-as-distinct photographs.

    python benchmarks/duplicates.py DATA_FOLDER [--out results.json]
    python benchmarks/duplicates.py --smoke

DATA_FOLDER holds `.npz` files with the encoded images `bytes` and their `offset`. Images of a set are
changed in a known way and compared with their originals: recall. Pairs of different images that are
taken for duplicates are false positives; a few may be true duplicates that the set still holds. With --smoke the bundled
photos are the only set.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from efface.images.duplicates import Fingerprints, fingerprint, near_pairs
from efface.images.reading import decode_image
from efface.images.sources import open_images
from efface.images.threads import in_threads

SETS = ("scenes128-train", "imagenet64-train", "imagenet256", "cifar10-test", "faces-age64-test")
DISTANCES = (4, 6, 8, 10, 12)
CHANGED, COMPARED = 300, 3000


def jpeg_50(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


def half_size(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def cropped_centre(image: Image.Image) -> Image.Image:
    """5 % of each side, half of it from either edge."""
    x, y = round(image.width * 0.025), round(image.height * 0.025)
    return image.crop((x, y, image.width - x, image.height - y))


def cropped_corner(image: Image.Image) -> Image.Image:
    """5 % of each side, all from the left and the top."""
    return image.crop((round(image.width * 0.05), round(image.height * 0.05), image.width, image.height))


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def darker(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.7)


CHANGES: tuple[Callable[[Image.Image], Image.Image], ...] = (
    jpeg_50,
    half_size,
    cropped_centre,
    cropped_corner,
    ImageOps.mirror,
    brighter,
    darker,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--smoke", action="store_true", help="in seconds, only to see that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.smoke:
        measured("bundled", [decode_image(photo.read_bytes()) for photo in open_images("bundled")])
        return
    if options.data is None:
        parser.error("name the folder of encoded images, or say --smoke")
    results = {name: measured(name, read_images(options.data / f"{name}.npz")) for name in SETS}
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def measured(name: str, images: list[Image.Image]) -> dict[str, dict[int, float]]:
    prints = Fingerprints.stacked(in_threads(fingerprint, images))
    chosen = list(range(0, len(images), max(1, len(images) // CHANGED)))[:CHANGED]
    print(f"\n{name}: {len(images)} images, {len(chosen)} of them changed")
    print(f"{'':24}" + "".join(f"{'<=' + str(d):>8}" for d in DISTANCES))
    table: dict[str, dict[int, float]] = {}
    for change in CHANGES:
        changed = Fingerprints.stacked(fingerprint(change(images[index])) for index in chosen)
        table[change.__name__] = {d: recall(prints.at(chosen), changed, d) for d in DISTANCES}
    table["false pairs per million"] = {d: false_rate(prints, d) for d in DISTANCES}
    for change_name, row in table.items():
        print(f"{change_name:24}" + "".join(f"{value:8.3f}" for value in row.values()))
    return table


def recall(originals: Fingerprints, changed: Fingerprints, distance: int) -> float:
    """Share of changed images that are found as duplicates of their own original."""
    found = [bool(near_pairs(originals.at([i]), changed.at([i]), distance)) for i in range(len(changed))]
    return sum(found) / len(found)


def false_rate(prints: Fingerprints, distance: int) -> float:
    """Pairs of different images taken for duplicates, per million pairs."""
    wrong = 0
    for index in range(len(prints) - 1):
        wrong += len(near_pairs(prints.at([index]), prints.at(range(index + 1, len(prints))), distance))
    return 1e6 * wrong / math.comb(len(prints), 2)


def read_images(path: Path) -> list[Image.Image]:
    with np.load(path, allow_pickle=False) as archive:
        data, offset = archive["bytes"], archive["offset"]
    step = max(1, (len(offset) - 1) // COMPARED)
    chosen = range(0, len(offset) - 1, step)
    return [decode_image(data[offset[i] : offset[i + 1]].tobytes()) for i in chosen][:COMPARED]


if __name__ == "__main__":
    main()
