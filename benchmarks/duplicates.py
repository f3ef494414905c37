"""What the search for copies finds, what it finds wrongly, and what it costs.

    python benchmarks/duplicates.py [--data DATA_FOLDER] [--fashion FILE]
    python benchmarks/duplicates.py --smoke

Images of a set are edited as people edit them and looked for among their originals: recall, with Wilson's 95 % interval.
Every second image of a set is looked for among the others: pairs that match are counted as false, though some are
true copies that the set still holds. DATA_FOLDER holds `.npz` files with the encoded images `bytes` and their `offset`,
or with grey pictures `images`; what is not there is left out. FILE is Fashion-MNIST's `train-images-idx3-ubyte(.gz)`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import math
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from efface.images.copy_index import DEFAULT_AGREEMENT, CopyIndex
from efface.images.fingerprints import FINGERPRINT, SIDE, fingerprint, stacked
from efface.images.reading import decode_image
from efface.images.sources import open_images
from efface.images.threads import in_threads, usable_cores
from machine import add_options, finish

PHOTOGRAPHS = {"imagenet256": 600, "scenes128-train": 1200, "faces-age64-test": 1995, "imagenet64-val": 3000}
EDITED = ("imagenet256", "scenes128-train", "faces-age64-test")
GREY = {"mnist-t10k": 10_000, "orl28": 400}
FASHION = 20_000
EDITS_OF_EACH = 300
SIZES = (1_000, 10_000, 100_000)
ASKED = 100  # queries for each size

Table = TypeVar("Table")
Photo = Image.Image
Edit = Callable[[Photo, np.random.Generator], Photo]


def encoded(photo: Photo, quality: int) -> Photo:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(photo: Photo, share: float) -> Photo:
    return photo.resize((round(photo.width * share), round(photo.height * share)), Image.Resampling.BICUBIC)


def cropped(photo: Photo, share: float, x: float, y: float) -> Photo:
    """`share` of either side; x and y from 0 (left, top) to 1."""
    width, height = photo.width * share, photo.height * share
    left, top = (photo.width - width) * x, (photo.height - height) * y
    return photo.crop((round(left), round(top), round(left + width), round(top + height)))


def written(photo: Photo, x: float, y: float, words: str, colour: str, size: float) -> None:
    """Words on a photo, place and size as shares of its height."""
    height = photo.height
    ImageDraw.Draw(photo).text(
        (x * photo.width, y * height), words, fill=colour, font_size=max(6, size * height)
    )


def captioned(photo: Photo, top: bool = False) -> Photo:
    photo = photo.copy()
    ends = (0, 0.2) if top else (0.8, 1)
    box = (0, math.floor(ends[0] * photo.height), photo.width, math.ceil(ends[1] * photo.height))
    ImageDraw.Draw(photo).rectangle(box, fill="black" if top else "white")
    written(photo, 0.05, ends[0] + 0.03, "ONE DOES NOT SIMPLY", "white" if top else "black", 0.1)
    return photo


def watermarked(photo: Photo) -> Photo:
    marked = photo.copy()
    for row in range(3):
        written(marked, 0.05 + 0.1 * row, 0.12 + 0.3 * row, "SAMPLE PHOTO", "white", 0.14)
    return Image.blend(photo, marked, 0.25)


def windowed(photo: Photo) -> Photo:
    """A screenshot with a title above, words below, and a margin all around."""
    screen = Image.new("RGB", (round(photo.width * 1.16), round(photo.height * 1.4)), "whitesmoke")
    bar = Image.new("RGB", (screen.width, round(photo.height * 0.12)), "darkslategrey")
    written(bar, 0.05, 0.2, "Photos", "white", 0.6)
    screen.paste(bar, (0, 0))
    screen.paste(photo, (round(photo.width * 0.08), round(photo.height * 0.17)))
    for row in range(2):
        written(screen, 0.1, 0.86 + 0.065 * row, "Liked by someone and 12", "dimgrey", 0.045)
    return screen


def on_a_phone(photo: Photo) -> Photo:
    """As wide as the screen, on black, with words above and below."""
    screen = Image.new("RGB", (photo.width, round(photo.height * 1.7)), "black")
    screen.paste(photo, (0, round(photo.height * 0.35)))
    written(screen, 0.05, 0.02, "12:45", "white", 0.05)
    written(screen, 0.2, 0.9, "Reply   Share", "white", 0.05)
    return screen


def contrasted(photo: Photo) -> Photo:
    return ImageEnhance.Contrast(photo.point(lambda value: 255 * (value / 255) ** 0.7)).enhance(1.3)


TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
EDITS: dict[str, tuple[float, Edit]] = {
    "encoded again (quality 30)": (0.98, lambda photo, draws: encoded(photo, 30)),
    "half size": (0.98, lambda photo, draws: resized(photo, 0.5)),
    "quarter size": (0.98, lambda photo, draws: resized(photo, 0.25)),
    "brighter (x 1.3)": (0.98, lambda photo, draws: ImageEnhance.Brightness(photo).enhance(1.3)),
    "darker (x 0.7)": (0.98, lambda photo, draws: ImageEnhance.Brightness(photo).enhance(0.7)),
    "mirrored": (0.98, lambda photo, draws: ImageOps.mirror(photo)),
    "black and white": (0.95, lambda photo, draws: photo.convert("L").convert("RGB")),
    "letterboxed": (0.95, lambda photo, draws: ImageOps.expand(photo, (0, photo.height // 5), "black")),
    "caption over a fifth": (0.95, lambda photo, draws: captioned(photo)),
    "quarter turns": (0.95, lambda photo, draws: photo.transpose(TURNS[draws.integers(3)])),
    "light watermark": (0.95, lambda photo, draws: watermarked(photo)),
    "centre, 80 %": (0.95, lambda photo, draws: cropped(photo, 0.8, 0.5, 0.5)),
    "a corner, 80 %": (0.95, lambda photo, draws: cropped(photo, 0.8, draws.integers(2), draws.integers(2))),
    "centre, 60 %": (0.8, lambda photo, draws: cropped(photo, 0.6, 0.5, 0.5)),
    "anywhere, 60 %": (0.8, lambda photo, draws: cropped(photo, 0.6, draws.random(), draws.random())),
    "screenshot with a frame": (0.8, lambda photo, draws: windowed(photo)),
    "screenshot of a phone": (0.8, lambda photo, draws: on_a_phone(photo)),
    # not asked for
    "anywhere, 70 to 95 %": (
        0,
        lambda photo, draws: cropped(photo, draws.uniform(0.7, 0.95), draws.random(), draws.random()),
    ),
    "caption above": (0, lambda photo, draws: captioned(photo, top=True)),
    "other contrast": (0, lambda photo, draws: contrasted(photo)),
    "centre, 80 %, mirrored, encoded": (
        0,
        lambda photo, draws: encoded(ImageOps.mirror(cropped(photo, 0.8, 0.5, 0.5)), 50),
    ),
    "centre, 80 %, turned": (0, lambda photo, draws: cropped(photo, 0.8, 0.5, 0.5).transpose(TURNS[0])),
    "turned by 5 degrees": (
        0,
        lambda photo, draws: cropped(photo.rotate(5, Image.Resampling.BICUBIC), 0.85, 0.5, 0.5),
    ),
    "negative": (0, lambda photo, draws: ImageOps.invert(photo)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--fashion", type=Path)
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        photos = [decode_image(photo.read_bytes()) for photo in open_images("bundled")]
        recalls(photos[:4])
        false_pairs(photos)
        scales((40,), 4)
        return
    results = {
        "agreement": DEFAULT_AGREEMENT,
        "recall": {},
        "false_pairs": {"digits": false_pairs(digits())},
        "seconds": shown("scale", scales(SIZES, ASKED)),
    }
    for name, most in (PHOTOGRAPHS | GREY).items():
        if not (path := options.data / f"{name}.npz").exists():
            print(f"{name}: not in {options.data}, left out")
            continue
        images = read_images(path, most)
        if name in EDITED:
            results["recall"][name] = shown(name, recalls(images))
        results["false_pairs"][name] = shown(name, false_pairs(images))
    if options.fashion:
        results["false_pairs"]["fashion-mnist"] = shown(
            "fashion-mnist", false_pairs(fashion(options.fashion))
        )
    finish("duplicates", results, options)


def recalls(images: list[Photo]) -> dict[str, dict[str, float]]:
    """For each edit: the share of edited images of which the original is found, its interval, and what is wanted."""
    index = CopyIndex()
    index.add(prints_of(images))
    chosen = np.arange(0, len(images), max(1, len(images) // EDITS_OF_EACH))[:EDITS_OF_EACH]
    found = {}
    for name, (wanted, edit) in EDITS.items():
        draws = np.random.default_rng(0)
        matches = index.query(prints_of(edit(images[place], draws) for place in chosen))
        right = int((chosen[matches.query] == matches.entry).sum())
        low, high = wilson(right, len(chosen))
        found[name] = {"recall": right / len(chosen), "low": low, "high": high, "wanted": wanted}
    return found


def false_pairs(images: list[Photo]) -> dict[str, float]:
    """Pairs of different images that match, among all pairs of an even and an odd place, and milliseconds."""
    began = time.perf_counter()
    prints = prints_of(images)
    made = time.perf_counter()
    index = CopyIndex()
    index.add(prints[::2])
    indexed = time.perf_counter()
    matches = index.query(prints[1::2])
    done = time.perf_counter()
    pairs = len(prints[::2]) * len(prints[1::2])
    low, high = wilson(len(matches.query), pairs)
    return {
        "pairs": pairs,
        "false": len(matches.query),
        "per_100000": 1e5 * len(matches.query) / pairs,
        "low": 1e5 * low,
        "high": 1e5 * high,
        "ms_fingerprint": 1e3 * (made - began) / len(prints),
        "ms_index": 1e3 * (indexed - made) / len(prints[::2]),
        "ms_query": 1e3 * (done - indexed) / len(prints[1::2]),
    }


def scales(sizes: Iterable[int], asked: int) -> dict[str, dict[str, float]]:
    """What an index of so many made-up pictures costs: seconds to build, MiB on disk, milliseconds a query."""
    found = {}
    for size in sizes:
        prints = made_up(size)
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            index = CopyIndex()
            index.add(prints)
            built = time.perf_counter() - began
            index.save(Path(folder) / "index")
            disk = sum(file.stat().st_size for file in (Path(folder) / "index").iterdir())
            del index
            opened = CopyIndex.open(Path(folder) / "index")
            opened.query(prints[:1])
            asked_for = np.arange(0, size, max(1, size // asked))[:asked]
            began = time.perf_counter()
            matches = opened.query(prints[asked_for])
            together = time.perf_counter() - began
            began = time.perf_counter()
            for place in asked_for:
                opened.query(prints[place : place + 1])
            alone = time.perf_counter() - began
        assert set(asked_for[matches.query[asked_for[matches.query] == matches.entry]]) == set(asked_for)
        found[str(size)] = {
            "seconds_to_build": built,
            "mib_on_disk": disk / 2**20,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
            "ms_query_of_many": 1e3 * together / len(asked_for),
            "ms_query_alone": 1e3 * alone / len(asked_for),
            "cores": usable_cores(),
        }
    return found


def made_up(size: int) -> np.ndarray:
    """Fingerprints of smooth random pictures."""
    draws = np.random.default_rng(0)
    prints = np.zeros(size, FINGERPRINT)
    waves = np.cos(np.pi * np.outer(np.arange(12), np.arange(SIDE) + 0.5) / SIDE)
    falling = 1 / (1 + np.add.outer(np.arange(12), np.arange(12)))
    for start in range(0, size, 1000):
        some = draws.normal(size=(len(prints[start : start + 1000]), 12, 12)) * falling
        pictures = waves.T @ some @ waves
        scale = 50 / pictures.std(axis=(1, 2), keepdims=True)
        prints["grey"][start : start + 1000] = np.clip(128 + scale * pictures, 0, 255)
    prints["boxes"] = (0, 255, 0, 255)
    return prints


def prints_of(images: Iterable[Photo]) -> np.ndarray:
    return stacked(in_threads(fingerprint, images))


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.959964
    share, width = count / total, z**2 / total
    middle = (share + width / 2) / (1 + width)
    half = z * math.sqrt(share * (1 - share) / total + width / (4 * total)) / (1 + width)
    return max(0.0, middle - half), min(1.0, middle + half)


def read_images(path: Path, most: int) -> list[Photo]:
    with np.load(path, allow_pickle=False) as archive:
        if "images" in archive:
            return [Image.fromarray(pixels).convert("RGB") for pixels in archive["images"][:most]]
        data, offset = archive["bytes"], archive["offset"]
    return [decode_image(data[offset[i] : offset[i + 1]].tobytes()) for i in range(len(offset) - 1)][:most]


def digits() -> list[Photo]:
    pixels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(digit).convert("RGB") for digit in pixels]


def fashion(path: Path) -> list[Photo]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    return [Image.fromarray(garment).convert("RGB") for garment in pixels[:FASHION]]


def shown(name: str, table: Table) -> Table:
    print(f"\n{name}\n{json.dumps(table, indent=1)}", flush=True)
    return table


if __name__ == "__main__":
    main()
