"""A pool of small networks: several workers against one after the other.

    python benchmarks/oracle_pool.py
    python benchmarks/oracle_pool.py --smoke
    python benchmarks/oracle_pool.py --network resnet18 --image-size 32 --workers 6     (on a GPU)

Without a GPU: retrained models of the digits task, each as a pool trains it, with one thread a worker, against the same
runs in a loop with one thread. A loop with torch's own choice of threads, which is what a plain script runs, is slower
on such small networks; it is timed on a few runs. Starting the workers is part of the time. With a GPU: ResNet-18 on
made-up 32 px images, several workers on one device.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from efface.benchmark.classifiers.kind import CLASSIFIERS
from efface.benchmark.classifiers.task import ClassifierTask, task_named
from efface.benchmark.engines import Engine, InLineEngine, ProcessEngine
from efface.benchmark.pool import Pool
from efface.benchmark.runs import PoolRun
from machine import add_options, finish, ratios, spread

FEW = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--network", choices=["small-conv", "resnet18"], default="small-conv")
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--images", type=int, default=2000, help="made-up images, with resnet18")
    parser.add_argument("--epochs", type=int, default=3, help="with resnet18")
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.runs, options.pairs, options.workers = 2, 1, 2
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        task = (
            task_named("digits")
            if options.network == "small-conv"
            else made_up(place / "images", options.images, options.image_size, options.epochs)
        )
        devices = ("cuda:0",) if on_gpu else ()
        engines: dict[str, Engine] = {
            "pool": ProcessEngine(workers=options.workers, devices=devices),
            "loop": ProcessEngine(workers=1, devices=devices) if on_gpu else InLineEngine(),
        }
        chosen = torch.get_num_threads()
        few = Pool(place / "few", task, CLASSIFIERS)
        few_runs = min(FEW, options.runs)
        plain = timed(few, engines["loop"], few_runs) / few_runs
        torch.set_num_threads(1)
        seconds: dict[str, list[float]] = {"pool": [], "loop": []}
        for pair in range(options.pairs):
            for name, measured in seconds.items():
                measured.append(
                    timed(Pool(place / f"{name}-{pair}", task, CLASSIFIERS), engines[name], options.runs)
                )
    finish(
        f"oracle_pool_{options.network.replace('-', '_')}{'_gpu' if on_gpu else ''}",
        {
            "runs": options.runs,
            "pairs": options.pairs,
            "workers": options.workers or "one a core",
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "times_faster": ratios(seconds["loop"], seconds["pool"]),
            "seconds_a_run": {
                "pool": round(sum(seconds["pool"]) / options.pairs / options.runs, 3),
                "loop": round(sum(seconds["loop"]) / options.pairs / options.runs, 3),
                f"loop with {chosen} threads": round(plain, 3),
            },
        },
        options,
    )


def timed(pool: Pool, engine: Engine, runs: int) -> float:
    """Seconds until a fresh pool holds so many retrained models."""
    began = time.monotonic()
    failures = pool.fill([PoolRun("retrained", seed) for seed in range(runs)], engine)
    if failures:
        raise RuntimeError(failures[0].error)
    return time.monotonic() - began


def made_up(folder: Path, count: int, side: int, epochs: int) -> ClassifierTask:
    """A task on random pictures of ten classes, written as files."""
    draws = np.random.default_rng(0)
    for number in range(count):
        label = number % 10
        pixels = np.clip(draws.normal(60 + 15 * label, 40, (side, side, 3)), 0, 255).astype(np.uint8)
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return ClassifierTask.read(
        {
            "images": {"data": "folder", "path": str(folder), "image_size": side},
            "network": {"network": "resnet18"},
            "recipe": {"epochs": epochs},
        },
        where="the task",
    )


if __name__ == "__main__":
    main()
