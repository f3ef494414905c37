"""What many images and many runs cost: seconds and memory at 1,000, 10,000, 100,000 images and more, and runs of a pool.

    python benchmarks/scale.py [--images 1000 10000 100000] [--runs 100 500 2000]
    python benchmarks/scale.py --images 1000000 --runs --work DIR
    python benchmarks/scale.py --smoke

Each size is measured in a process of its own. The images are made on the spot: 16-px PNG files of noise, every one
different. They are indexed, decoded into a cache, taken up again as a killed run does, and, up to
100,000, a whole run on them is planned. With `--work DIR` every figure is kept there as soon as it is had, and a stopped
command goes on with the next; the images (4 KiB of disk each) are removed when their last figure is had. Sizes that
are not asked for keep the figures of the last result.
Of a pool one run is carried out and its outputs stand for those of all others: what is measured is what the pool does
beside the runs, when it is filled and when it is opened again. Memory is the most that belongs to the process.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from caching import MemoryWatch
from efface.files import write_json
from machine import RESULTS, add_options, finish

SIDE, FOLDERS = 16, 100
PHOTOS, FIGURES, DONE = "images", "figures.json", "done"
PLANNED, EVERY = 100_000, 100_000
"""Up to so many images a whole run is planned, too: most of that is the search for copies."""
METHOD = {"name": "fine-tune", "epochs": 1.0, "learning_rate": 0.05}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, nargs="*", default=[100, 500, 2_000])
    parser.add_argument("--work", type=Path, help="where figures are kept, so that a stopped command goes on")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.measure:
        what, count, place = options.measure
        {"images": of_images, "runs": of_runs}[what](Path(place), int(count), Figures(Path(place, FIGURES)))
        return
    sizes = (
        {"images": [60], "runs": [5]} if options.smoke else {"images": options.images, "runs": options.runs}
    )
    before = {} if options.smoke else _last_result(options.out)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        results = {
            what: {**before.get(what, {}), **{str(count): _measured(what, count, work) for count in counts}}
            for what, counts in sizes.items()
        }
    in_order = {
        what: dict(sorted(rows.items(), key=lambda row: int(row[0]))) for what, rows in results.items()
    }
    finish("scale", in_order, options)


def of_images(folder: Path, count: int, figures: Figures) -> None:
    """Seconds of each step, and the most memory in MiB, of `count` images."""
    import efface
    from efface.images.cache import PixelCache
    from efface.images.sources import open_images
    from efface.progress import Progress
    from efface.testing.models import tiny_generator

    photos, progress = folder / PHOTOS, Progress.on_terminal()
    if not (folder / "model").exists():
        make_images(photos, count)
        tiny_generator(image_size=SIDE, patch_size=4).save_pretrained(folder / "model")

    def index() -> None:
        open_images(photos, progress=progress.count)

    def decode() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)  # of a start that was stopped in it
        with PixelCache(folder / "cache", SIDE) as cache:
            cache.add(open_images(photos), progress.count)

    def take_up_again() -> None:
        with PixelCache(folder / "cache", SIDE) as cache:
            cache.add(open_images(photos), progress.count)

    figures.measure("index", index, "memory")
    figures.measure("cache", decode, "memory", less="index")
    figures.measure("resume", take_up_again, "memory")
    if count <= PLANNED:
        plan = functools.partial(efface.plan, folder / "model", forget="label:class000", images=photos)
        figures.measure("plan", plan, "memory_of_plan")


def of_runs(folder: Path, count: int, figures: Figures) -> None:
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

    def fill() -> None:
        shutil.rmtree(folder / "pool", ignore_errors=True)
        assert Pool(folder / "pool", task, CLASSIFIERS).fill(runs, Copying()) == []

    def open_again() -> None:
        assert Pool(folder / "pool", task, CLASSIFIERS).missing(runs) == []

    def read() -> None:
        pool = Pool(folder / "pool", task, CLASSIFIERS)
        pool.seconds(runs)
        for run in runs:
            pool.outputs(run)

    figures.measure("fill", fill, "memory")
    figures.measure("open", open_again, "memory")
    figures.measure("read", read, "memory")


def make_images(folder: Path, count: int) -> None:
    """`count` different PNG files of 16 x 16 px in 100 sub-folders, named as classes."""
    random = np.random.default_rng(0)
    for number in range(FOLDERS):
        (folder / f"class{number:03d}").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if number % EVERY == 0:
            print(f"  made {number:,} of {count:,} images", flush=True)
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


class Figures:
    """Seconds and memory of steps, kept in a file as soon as they are had: those that are there are not measured again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def measure(self, name: str, step: Callable[[], object], memory: str, less: str | None = None) -> None:
        """Seconds of `step`, less those of another one that it holds; `memory`: the figure that is the most of several."""
        if name in self.found:
            return
        print(f"  {name} ...", flush=True)
        began = time.perf_counter()
        with MemoryWatch() as watch:
            step()
        seconds = time.perf_counter() - began - (self.found[less] if less else 0)
        self.found[name] = round(seconds, 2)
        self.found[memory] = max(self.found.get(memory, 0), watch.private)
        write_json(self.file, self.found)


def _measured(what: str, count: int, work: Path) -> dict[str, float]:
    """Carried out in a process of its own, in a folder that holds nothing but figures afterwards."""
    folder = work / f"{what}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{count:,} {what}, in {folder}:", flush=True)
    if not (folder / DONE).exists():
        command = [sys.executable, __file__, "--measure", what, str(count), str(folder)]
        subprocess.run(command, check=True)
        (folder / DONE).touch()
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
    found = Figures(folder / FIGURES).found
    print(f"{count:,} {what}: {found}", flush=True)
    return found


def _last_result(folder: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """The figures by what was measured and size, of sizes that are not measured now."""
    file = (folder or RESULTS) / "scale.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


if __name__ == "__main__":
    main()
