"""What the benchmarks of training steps share: efface's own steps, variants timed in turn, memory of each alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.progress import Progress
from efface.training.codes import keep_codes
from efface.training.data import CropBatch, Cropper, Crops, Data, pixel_moments
from efface.training.optimisation import accelerator, autocast_precision
from efface.training.phases import Training
from efface.training.settings import TrainingSettings
from efface.training.step import FiniteCheck, Step, training_corruption
from machine import add_options
from unlearning_step import wait

SEED = 0
LEAST_SECONDS = 1.0
"""A turn repeats quick variants until this long has passed."""


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks of steps have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3, help="how often every variant is timed")
    parser.add_argument("--memory-batch", type=int, default=4)
    add_options(parser)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    return parser


def computing_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def data_of(photos: ImageSet, generator: Generator) -> Iterator[Data]:
    """Photos, one half to be forgotten."""
    half = len(photos) // 2
    sets = {"forget": photos.subset(range(half)), "retain": photos.subset(range(half, len(photos)))}
    with TemporaryDirectory() as folder, PixelCache(folder, round(generator.image_size * 1.25)) as cache:
        cache.add(photos)
        yield Data(sets, cache, pixel_moments(sets["forget"], cache))


def prepared_step(
    generator: Generator,
    phase: Training,
    data: Data,
    settings: TrainingSettings,
    codes_folder: Path | None = None,
) -> Step:
    """A step as the trainer makes it, with its teacher and, in `codes_folder`, the codes of all crops."""
    accelerate = accelerator(settings)
    generator.to(accelerate.device)
    generator.set_trained(phase.trained)
    generator.keep_teacher(phase.trained, autocast_precision(accelerate))
    codes = None
    if codes_folder is not None:
        cropper = Cropper(data.cache, generator.image_size, settings, SEED)
        ids = [id_ for stream in phase.streams for id_ in data.sets[stream].ids]
        corruption = training_corruption(generator, settings)
        codes = keep_codes(generator, ids, cropper, corruption, codes_folder, Progress())
    return Step(generator, phase, data, settings, SEED, accelerate, codes)


def run_steps(step: Step, count: int) -> None:
    """The first `count` steps as the trainer runs them, reading and cropping included, at a rate of zero."""
    finite = FiniteCheck(step.generator.device)
    for crops in step.streams.steps(0, count):
        step(crops, 0.0, finite)
    assert finite.holds()


def in_turn(
    variants: Mapping[str, Callable[[], None]],
    turns: int,
    device: torch.device,
    smoke: bool,
) -> dict[str, list[float]]:
    """Mean seconds of one call of each variant at each turn; every other turn in reverse order.

    Nothing is run beforehand: what must be warm is for the caller to warm. A smoke test calls each once.
    """
    least_seconds = 0.0 if smoke else LEAST_SECONDS
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(turns):
        for name in list(variants) if turn % 2 == 0 else reversed(list(variants)):
            calls, began = 0, time.perf_counter()
            while not calls or time.perf_counter() - began < least_seconds:
                variants[name]()
                wait(device)
                calls += 1
            seconds[name].append((time.perf_counter() - began) / calls)
    return seconds


def per_image(seconds: list[float], images: int) -> list[float]:
    return [value / images for value in seconds]


def shortened(crops: CropBatch, count: int) -> CropBatch:
    """The first `count` images of each stream."""
    return {
        stream: Crops(
            some.images[:count],
            type(some.draws)(some.draws.seed, some.draws.ids[:count], some.draws.visits[:count]),
            codes=None if some.codes is None else some.codes[:count],
        )
        for stream, some in crops.items()
    }


def memory_of_each(variants: Mapping[str, object], smoke: bool) -> dict[str, dict[str, int]]:
    """Run this script once for each variant with `--memory NAME`, and gather what `print_memory` gave.

    A smoke test does so for one variant.
    """
    found = {}
    for name in list(variants)[: 1 if smoke else None]:
        command = [sys.executable, *sys.argv, "--memory", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_memory(step: Callable[[], None], warm: Callable[[], None], device: torch.device) -> None:
    """Peak memory of `step` in this process in MiB, and what was held before it, as one line of JSON.

    warm: a smaller step, after which the optimizer has its states. On a GPU its own memory is what is counted.
    """
    warm()
    wait(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated() // 2**20
        torch.cuda.reset_peak_memory_stats()
        step()
        print(json.dumps({"before_mib": before, "peak_mib": torch.cuda.max_memory_allocated() // 2**20}))
        return
    found = peak_memory(step)
    print(json.dumps({name: found[name] for name in ("before_mib", "peak_mib")}))


def peak_memory(work: Callable[[], object]) -> dict[str, float]:
    """Resident memory of this process before and at its peak while it works, and the difference, in MiB."""
    # not getrusage's maximum: it counts the start-up too, and a child process begins with its parent's
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    peak = _status("VmHWM")
    return {"before_mib": before, "peak_mib": peak, "grown_mib": peak - before}


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:"))
