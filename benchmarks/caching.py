"""Indexing and caching 100,000 small images, and reading them back as training does.

    python benchmarks/caching.py [--images 100000]
    python benchmarks/caching.py --smoke

The images are made on the spot: 64-px JPEG crops of the bundled photos, every one different. Memory is
reported in two parts: what belongs to the process (bounded by what is in flight), and pages of the mapped
cache file, which the system counts too but takes back when it needs them.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from efface.images.cache import PixelCache
from efface.images.crops import batch, random_resized_crop
from efface.images.reading import decode
from efface.images.sources import open_images
from efface.randomness import numpy_draws
from machine import add_options, finish

SIDE = 64
FOLDERS = 100
READ = 20_000
BATCH = 64


class MemoryWatch:
    """Largest private and total resident memory of this process while the block runs, in MiB."""

    def __enter__(self) -> MemoryWatch:
        self.private = self.total = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            status = dict(
                line.split(":", 1)
                for line in Path("/proc/self/status").read_text().splitlines()
                if ":" in line
            )
            self.private = max(self.private, int(status["RssAnon"].split()[0]) // 1024)
            self.total = max(self.total, int(status["VmRSS"].split()[0]) // 1024)


def make_images(folder: Path, count: int) -> None:
    """`count` different JPEG files of 64 x 64 px in 100 sub-folders."""
    photos = [decode(item.read_bytes()) for item in open_images("bundled")]
    for number in range(count):
        draws = numpy_draws("benchmark", number)
        crop = random_resized_crop(photos[number % len(photos)], SIDE, draws, scale=(0.02, 0.5))
        place = folder / f"class{number % FOLDERS:03d}"
        place.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(crop.transpose(1, 2, 0)).save(
            buffer, "JPEG", quality=85, comment=str(number).encode()
        )
        (place / f"{number:06d}.jpg").write_bytes(buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    add_options(parser)
    options = parser.parse_args()
    count = 200 if options.smoke else options.images
    with tempfile.TemporaryDirectory() as folder:
        images_folder = Path(folder) / "images"
        images_folder.mkdir()
        make_images(images_folder, count)
        with MemoryWatch() as memory:
            began = time.perf_counter()
            images = open_images(images_folder)
            indexed = time.perf_counter() - began
            cache = PixelCache(Path(folder) / "cache", SIDE)
            began = time.perf_counter()
            cache.add(images)
            cached = time.perf_counter() - began
        with MemoryWatch() as reading:
            places = numpy_draws("benchmark", "order").permutation(count)[:READ]
            ids = [images[int(place)].id for place in places]
            began = time.perf_counter()
            checksum = 0
            for first in range(0, len(ids), BATCH):
                crops = batch(cache, ids[first : first + BATCH], SIDE, random_resized_crop, (0, 0))
                checksum += int(np.asarray(crops[0, 0, 0, 0]))
            read = time.perf_counter() - began
        on_disk = sum(path.stat().st_size for path in Path(folder, "cache").rglob("*") if path.is_file())
        cache.close()
    finish(
        "caching",
        {
            "images": count,
            "indexed_images_per_second": round(count / indexed),
            "cached_images_per_second": round(count / cached),
            "read_and_cropped_images_per_second": round(len(ids) / read),
            "private_memory_mib_while_caching": memory.private,
            "total_memory_mib_while_caching": memory.total,
            "private_memory_mib_while_reading": reading.private,
            "total_memory_mib_while_reading": reading.total,
            "cache_mib": round(on_disk / 2**20),
        },
        options,
    )


if __name__ == "__main__":
    main()
