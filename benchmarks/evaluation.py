"""Evaluating 10,000 images of 64 px in three sets, with all metrics, against the bare forward passes.

    python benchmarks/evaluation.py [--images 10000] [--cases tiny:1 small:1 tiny:3]
    python benchmarks/evaluation.py --smoke

A case is a size of masked autoencoder and how many models are compared. The bare passes restore prepared views and
take the features of every output and of every true picture, nothing else; both go set by set in turn, in one process,
on two threads. Seconds are told as they passed, and as processor time: the latter hardly feels what else the machine
does. Pictures are made on the spot: smooth random fields with a shape on each, in memory at the side that a cache
keeps for this model, every one different.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

# as the command line does: threads that wait by spinning count as work where other processes want the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from efface.corruptions import parse_corruption
from efface.evaluation import answers, protocol
from efface.evaluation.answers import view_batches
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.generators.mae.family import SIZES, MaeArchitecture
from efface.generators.mae.generator import MaeGenerator
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import FileLocator
from efface.jobs.generator import stored_side
from efface.metrics import frechet, kernel
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.randomness import numpy_draws
from machine import add_options, finish

SIDE, THREADS = 64, 2
SHARES: dict[SetName, float] = {"forget": 0.2, "retain": 0.6, "neutral": 0.2}
NAMES: tuple[ModelName, ...] = ("original", "unlearned", "retrained")
CORRUPTION = parse_corruption("centre:0.5")
MEMORY_SHARE, WARM_SHARE = 4, 100
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pictures:
    """Pixels in memory by id."""

    pixels: dict[str, npt.NDArray[np.uint8]]

    def read(self, id_: str) -> npt.NDArray[np.uint8]:
        return self.pixels[id_]

    def sets(self, images: int) -> dict[SetName, ImageSet]:
        """The first `images` of them, in sets."""
        ids, found, first = list(self.pixels)[:images], dict[SetName, ImageSet](), 0
        for name, share in SHARES.items():
            last = first + round(share * images)
            found[name] = ImageSet(ImageItem(id_, id_, None, FileLocator(id_)) for id_ in ids[first:last])
            first = last
        return found


@dataclass
class Clock:
    """Seconds that passed in each part, without those of parts inside of it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inner: list[float] = field(default_factory=lambda: [0.0])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._inner.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - began
            self.seconds[name] += passed - self._inner.pop()
            self._inner[-1] += passed

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        return timed

    def waiting(self, call: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The same batches; the time until each is there is a part."""

        def batches(*args: Any) -> Iterator[Any]:
            source = call(*args)
            while True:
                with self.part("waiting for crops"):
                    batch = next(source, None)
                if batch is None:
                    return
                yield batch

        return batches

    @contextmanager
    def parts_of(self, models: dict[ModelName, Generator], extractor: FeatureExtractor) -> Iterator[None]:
        """Watch `evaluate` inside the block."""
        places: list[tuple[Any, str, str]] = [
            (extractor, "features", "features"),
            (answers, "_collect", "metrics of each image"),
            (protocol, "all_figures", "intervals of means"),
            (kernel, "kernel_distance_interval", "kernel distance"),
            (frechet, "frechet_distance", "Fréchet distance"),
        ]
        for model in models.values():
            places += [(model, "view", "masks"), (model, "restore", "restoring")]
        patches = [
            patch.object(owner, name, self.timed(part, getattr(owner, name))) for owner, name, part in places
        ]
        patches.append(patch.object(answers, "_read_ahead", self.waiting(answers._read_ahead)))
        for one in patches:
            one.start()
        try:
            with self.part("the rest"):
                yield
        finally:
            for one in patches:
                one.stop()


def made_up(images: int) -> Pictures:
    """Smooth fields of colour, an ellipse or rectangle on each."""
    side, pixels = stored_side(SIDE), dict[str, npt.NDArray[np.uint8]]()
    for number in range(images):
        draws = numpy_draws(0, "made-up picture", number)
        field_ = Image.fromarray(draws.integers(0, 256, (4, 4, 3), np.uint8))
        picture = field_.resize((side, side), Image.Resampling.BICUBIC)
        (left, right), (top, bottom) = np.sort(draws.integers(0, side, (2, 2)), axis=1).tolist()
        colour = tuple(draws.integers(0, 256, 3).tolist())
        shape = ImageDraw.Draw(picture)
        (shape.ellipse if number % 2 else shape.rectangle)((left, top, right, bottom), fill=colour)
        pixels[f"{number:064x}"] = np.asarray(picture)
    return Pictures(pixels)


def bare_passes(
    models: dict[ModelName, Generator],
    images: ImageSet,
    pictures: Pictures,
    extractor: FeatureExtractor,
    settings: EvaluationSettings,
) -> Seconds:
    """Passed and processor seconds of restoring prepared views, and of the features of outputs and truths."""
    spent = np.zeros(2)
    first = next(iter(models.values()))
    for batch in view_batches(images, pictures, SIDE, settings):
        view = first.view(batch.images, CORRUPTION, batch.draws)
        began = now()
        with torch.inference_mode():
            extractor.features(view.images)
            for model in models.values():
                extractor.features(model.restore(view))
        spent += now() - began
    return spent


def now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])


def measured(case: str, pictures: Pictures, images: int, memory: bool) -> dict[str, Any]:
    """One case: seconds of both, set by set in turn, the parts of the evaluation, and its memory if asked for."""
    size, _, number = case.partition(":")
    shape = MaeArchitecture(**{**SIZES[size], "image_size": SIDE}).transformers_config()
    models: dict[ModelName, Generator] = {
        name: MaeGenerator.new(seed, **shape).eval() for seed, name in enumerate(NAMES[: int(number)])
    }
    extractor, settings, clock = load_extractor("built-in"), EvaluationSettings(), Clock()

    def evaluate(sets: dict[SetName, ImageSet]) -> None:
        protocol.evaluate(models, sets, pictures, CORRUPTION, extractor, settings)

    sets = pictures.sets(images)
    evaluate(pictures.sets(images // WARM_SHARE))
    held = {}
    if memory:
        for count in (images // MEMORY_SHARE, images):
            held[f"{count} images"] = memory_of(lambda count=count: evaluate(pictures.sets(count)))  # type: ignore[misc]
    full, bare = np.zeros(2), np.zeros(2)
    by_set = {}
    for turn, (name, chosen) in enumerate(sets.items()):
        spent = {}
        for which in ("bare", "full") if turn % 2 else ("full", "bare"):
            if which == "bare":
                spent[which] = bare_passes(models, chosen, pictures, extractor, settings)
                continue
            began = now()
            with clock.parts_of(models, extractor):
                evaluate({name: chosen})
            spent[which] = now() - began
        full, bare = full + spent["full"], bare + spent["bare"]
        by_set[name] = times(spent["full"], spent["bare"])
    return {
        "images": {name: len(chosen) for name, chosen in sets.items()},
        "seconds_evaluation": told(full),
        "seconds_bare_passes": told(bare),
        "evaluation_times_bare": times(full, bare),
        "of_each_set": by_set,
        "seconds_by_part": {name: round(seconds, 2) for name, seconds in sorted(clock.seconds.items())},
        "memory_mib": held or None,
    }


def told(spent: Seconds) -> dict[str, float]:
    return {"passed": round(float(spent[0]), 2), "processor": round(float(spent[1]), 2)}


def times(full: Seconds, bare: Seconds) -> dict[str, float]:
    passed, processor = full / bare
    return {"passed": round(float(passed), 3), "processor": round(float(processor), 3)}


def memory_of(call: Callable[[], None]) -> dict[str, int]:
    """Memory of this process before `call`, and the most during it."""
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    call()
    return {"before": before, "peak": status("VmHWM")}


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--cases", nargs="+", default=["tiny:1", "small:1", "tiny:3"])
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.images, options.cases = 60, ["tiny:1"]
    torch.set_num_threads(THREADS)
    pictures = made_up(options.images)
    found: dict[str, Any] = {"threads": THREADS, "corruption": str(CORRUPTION)}
    for number, case in enumerate(options.cases):
        found[case] = measured(case, pictures, options.images, memory=not number)
        finish("evaluation", found, options)


if __name__ == "__main__":
    main()
