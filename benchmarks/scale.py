"""What many images and many runs cost: seconds and memory at 1,000, 10,000, 100,000 images and more, and runs of a pool.

    python benchmarks/scale.py [--images 1000 10000 100000] [--runs 100 500 2000]
    python benchmarks/scale.py --smoke

Each size is measured in a process of its own. The images are made on the spot: 16-px PNG files of noise, every one
different. They are indexed, decoded into a cache, taken up again as a killed run does, and, up to
100,000, a whole run on them is planned.
Of a pool one run is carried out and its outputs stand for those of all others: what is measured is what the pool does
beside the runs, when it is filled and when it is opened again. Memory is the most that belongs to the process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from caching import MemoryWatch
from machine import add_options, finish

SIDE, FOLDERS = 16, 100
PHOTOS = "images"
PLANNED = 100_000
"""Up to so many images a whole run is planned, too: most of that is the search for copies."""
METHOD = {"name": "fine-tune", "epochs": 1.0, "learning_rate": 0.05}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 500, 2_000])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.measure:
        what, count = options.measure
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"images": of_images, "runs": of_runs}[what](Path(folder), int(count))))
        return
    sizes = (
        {"images": [60], "runs": [5]} if options.smoke else {"images": options.images, "runs": options.runs}
    )
    results = {
        what: {str(count): _measured(what, count) for count in counts} for what, counts in sizes.items()
    }
    finish("scale", results, options)


def of_images(folder: Path, count: int) -> dict[str, float]:
    """Seconds of each step, and the most memory in MiB, of `count` images."""
    import efface
    from efface.images.cache import PixelCache
    from efface.images.sources import open_images
    from efface.testing.models import tiny_generator

    make_images(folder / PHOTOS, count)
    generator = tiny_generator(image_size=SIDE, patch_size=4)
    generator.save_pretrained(folder / "model")
    seconds: dict[str, float] = {}
    with MemoryWatch() as memory:
        with _Timed(seconds, "index"):
            images = open_images(folder / PHOTOS)
        with _Timed(seconds, "cache"), PixelCache(folder / "cache", SIDE) as cache:
            cache.add(images)
        with _Timed(seconds, "resume"), PixelCache(folder / "cache", SIDE) as cache:
            cache.add(open_images(folder / PHOTOS))
    found = {**seconds, "memory": memory.private}
    if count <= PLANNED:
        with MemoryWatch() as planning, _Timed(found, "plan"):
            efface.plan(folder / "model", forget="label:class000", images=folder / PHOTOS)
        found["memory_of_plan"] = planning.private
    return found


def of_runs(folder: Path, count: int) -> dict[str, float]:
    """Seconds of filling, of opening again and of reading costs, and the most memory in MiB, of a pool of `count` runs."""
    from efface.benchmark.classifiers.kind import CLASSIFIERS
    from efface.benchmark.classifiers.task import ClassifierTask
    from efface.benchmark.pool import Pool
    from efface.benchmark.runs import PoolRun

    task = ClassifierTask.read(
        {
            "images": {"data": "digits", "limit": 150},
            "network": {"network": "small-conv", "width": 4},
            "recipe": {"epochs": 1, "learning_rate": 5e-3, "batch_size": 32},
        },
        where="the task",
    )
    runs = [PoolRun.unlearned(METHOD, 0, seed) for seed in range(count)]
    seconds: dict[str, float] = {}
    with MemoryWatch() as memory:
        with _Timed(seconds, "fill"):
            assert Pool(folder, task, CLASSIFIERS).fill(runs, Copying()) == []
        with _Timed(seconds, "open"):
            pool = Pool(folder, task, CLASSIFIERS)
            assert pool.missing(runs) == []
        with _Timed(seconds, "read"):
            pool.seconds(runs)
            for run in runs:
                pool.outputs(run)
    return {**seconds, "memory": memory.private}


def make_images(folder: Path, count: int) -> None:
    """`count` different PNG files of 16 x 16 px in 100 sub-folders, named as classes."""
    random = np.random.default_rng(0)
    for number in range(FOLDERS):
        (folder / f"class{number:03d}").mkdir(parents=True)
    for number in range(count):
        rows = random.integers(0, 256, (SIDE, 1 + 3 * SIDE), dtype=np.uint8)
        rows[:, 0] = 0  # the filter of each row: none
        (folder / f"class{number % FOLDERS:03d}" / f"{number:07d}.png").write_bytes(_png(rows.tobytes()))


def _png(rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


class Copying:
    """An engine that carries out the first run of each kind, and takes its outputs for those of all others."""

    workers = 1

    def run(self, function, tasks: Sequence, done) -> Iterator:  # type: ignore[no-untyped-def]
        from efface.benchmark.engines import Outcome

        function(tasks[0])
        first = tasks[0].place.with_suffix(".npz")
        for task in tasks:
            if task is not tasks[0]:
                task.place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(first, task.place.with_suffix(".npz"))
            yield Outcome(task)


class _Timed:
    """Puts the seconds of the block into a dictionary."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = round(time.perf_counter() - self.began, 2)


def _measured(what: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{count:,} {what}: {found}", flush=True)
    return found


if __name__ == "__main__":
    main()
