"""Restoring with a pixel diffusion model: the default sampler against 1,000 steps of the ancestral one.

A small model is trained for a few minutes on random crops of the bundled photos, or of `--images FOLDER`, and kept in
`--model FOLDER`, so that it is trained once only. Both samplers restore the same crops under the same hole with the
same keyed draws. The photos are those that it was trained on: what is compared are samplers of one model. Crops of a
photo are no independent evidence, so intervals (95 %) resample photos, drawn alike for both samplers.

    python benchmarks/palette_restoring.py --model runs/palette-restoring
    python benchmarks/palette_restoring.py --smoke
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.files import write_json
from efface.generators.base import View
from efface.generators.palette.checkpoint import load, new
from efface.generators.palette.family import FAMILY, SIZES, PaletteArchitecture, PaletteSettings
from efface.generators.palette.generator import PaletteGenerator
from efface.generators.palette.schedule import NoiseSchedule, Schedules
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.methods.generator.retrain import from_scratch
from efface.metrics.extractors import load_extractor
from efface.metrics.image_error import hole_mse
from efface.metrics.intervals import Interval, bootstrap_difference, bootstrap_mean, percentile_ends
from efface.metrics.kernel import kernel_distance, kernel_distance_interval
from efface.progress import Progress
from efface.randomness import numpy_draws
from efface.training.data import Data, pixel_moments
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.settings import TrainingSettings
from machine import add_options, finish, ratios, spread
from measuring import computing_device
from unlearning_step import wait

RELEASED_TEST = NoiseSchedule(steps=1000, start=1e-4, end=0.09)
"""The schedule that Palette is tested with: 1,000 steps."""
CORRUPTION = "centre:0.5"
SLOW, SLOW_IN_SMOKE = "ancestral", "ancestral:50"
Values = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a folder of photos; default: the bundled ones")
    parser.add_argument("--model", type=Path, help="where the trained model is kept; default: nowhere")
    parser.add_argument("--pixels", type=int, choices=(16, 32), default=16)
    parser.add_argument("--train-steps", type=int, default=3000)
    parser.add_argument("--crops", type=int, default=4, help="crops that are restored of each photo")
    parser.add_argument("--photos", type=int, default=64, help="photos that are restored at most")
    parser.add_argument("--batch", type=int, default=20, help="crops restored at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=2000)
    add_options(parser)
    options = parser.parse_args()
    options.slow = SLOW_IN_SMOKE if options.smoke else SLOW
    if options.smoke:
        options.train_steps, options.photos, options.crops, options.batch = 5, 6, 1, 3
        options.resamples = 100
    photos = open_images(options.images or "bundled")
    with TemporaryDirectory() as folder, PixelCache(folder, round(options.pixels * 1.25)) as cache:
        cache.add(photos)
        generator, training = trained(options, photos, cache)
        restored = photos.subset(range(min(options.photos, len(photos))))
        values = compared(generator, restored, cache, options)
    finish(f"palette_restoring_{computing_device().type}_{options.pixels}px", {**values, **training}, options)


def trained(
    options: argparse.Namespace, photos: ImageSet, cache: PixelCache
) -> tuple[PaletteGenerator, dict[str, Any]]:
    """The model in `--model`, or a new one that is trained and kept there."""
    how = {
        "photos": photos.digest(),
        "pixels": options.pixels,
        "steps": options.train_steps,
        "seed": options.seed,
    }
    note = options.model / "benchmark.json" if options.model else None
    if note and note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found["trained_on"] != how:
            raise InputError(
                f"{options.model} holds a model trained otherwise: {found['trained_on']}, not {how}"
            )
        return load(PaletteSettings(path=str(options.model))).to(computing_device()), found
    architecture = PaletteArchitecture(**{**SIZES["tiny"], "image_size": options.pixels})
    generator = PaletteGenerator(new(architecture, options.seed).network, Schedules(test=RELEASED_TEST))
    settings = TrainingSettings(
        **{**FAMILY.training, "batch_size": 32, "steps": options.train_steps, "average": 0.999}
    )
    data = Data({"retain": photos}, cache, pixel_moments(photos, cache))
    (phase,) = from_scratch(with_first_stage=False)
    trainer = Trainer(
        generator,
        [phase],
        data,
        settings,
        options.seed,
        accelerator(settings),
        progress=Progress.on_terminal(),
    )
    report = trainer.run()
    training = {"trained_on": how, "training_seconds": round(report.seconds, 1)}
    if note:
        generator.save_pretrained(options.model)
        write_json(note, training)
    return generator, training


def compared(
    generator: PaletteGenerator, photos: ImageSet, cache: PixelCache, options: argparse.Namespace
) -> dict[str, Any]:
    """Both samplers on the same views: time, hole error and kernel distance."""
    fast, slow = generator.sampler_name(None), generator.sampler_name(options.slow)
    assert fast is not None
    assert slow is not None
    found = {name: _Restored() for name in (fast, slow)}
    truth = _Restored()
    extractor, device = load_extractor("built-in"), generator.device
    corruption = parse_corruption(CORRUPTION)
    settings = EvaluationSettings(crops_per_image=options.crops, seed=options.seed, batch_size=options.batch)
    generator.eval()
    for number, crops in enumerate(view_batches(photos, cache, generator.image_size, settings)):
        view = generator.view(crops.images, corruption, crops.draws)
        if not number:
            # warm: a few steps of the network
            generator.restore(view, "ancestral:2")
        for name in (fast, slow) if number % 2 else (slow, fast):
            with timed(found[name].seconds, device):
                pictures = generator.restore(view, name)
            found[name].add(pictures, view, extractor)
        truth.add(view.images, view, extractor)
    groups = np.repeat(np.arange(len(photos)), options.crops)
    return {
        "samplers": {"default": fast, "reference": slow},
        "times_faster": ratios(found[slow].seconds, found[fast].seconds),
        "seconds_per_batch": {name: spread(part.seconds) for name, part in found.items()},
        "photos": len(photos),
        "crops": len(groups),
        "corruption": CORRUPTION,
        **quality(found[fast], found[slow], truth, groups, options),
        "extractor": extractor.name,
        "parameters": sum(p.numel() for p in generator.network.parameters()),
    }


def quality(
    fast: _Restored,
    slow: _Restored,
    truth: _Restored,
    groups: npt.NDArray[np.int64],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Hole error and kernel distance of both, and their differences, default minus reference."""
    how: dict[str, Any] = {"resamples": options.resamples, "seed": options.seed}
    real = truth.all_features
    return {
        "hole_error": {
            "default": _ends(bootstrap_mean(fast.all_errors, groups, **how)),
            "reference": _ends(bootstrap_mean(slow.all_errors, groups, **how)),
            "difference": _ends(bootstrap_difference(fast.all_errors, slow.all_errors, groups, **how)),
        },
        "kernel_distance": {
            "default": _ends(kernel_distance_interval(fast.all_features, real, groups, groups, **how)),
            "reference": _ends(kernel_distance_interval(slow.all_features, real, groups, groups, **how)),
            "difference": _ends(kernel_difference(fast.all_features, slow.all_features, real, groups, **how)),
        },
    }


def kernel_difference(
    fast: Values, slow: Values, real: Values, groups: npt.NDArray[np.int64], *, resamples: int, seed: int
) -> Interval:
    """Distance of `fast` from `real` minus that of `slow`, all `[N, D]`, with its 95 % bootstrap interval.

    Photos are drawn alike for both. A photo that is drawn twice keeps its name, so it is not compared with its copy.
    """

    def difference(rows: npt.NDArray[np.int64]) -> float:
        names = groups[rows]
        return kernel_distance(fast[rows], real[rows], names, names) - kernel_distance(
            slow[rows], real[rows], names, names
        )

    photos, draws = np.unique(groups), numpy_draws(seed, "kernel difference")
    members = [np.flatnonzero(groups == photo) for photo in photos]
    drawn = []
    for _ in range(resamples):
        picks = draws.integers(0, len(photos), len(photos))
        if len(np.unique(picks)) > 1:
            drawn.append(difference(np.concatenate([members[pick] for pick in picks])))
    return Interval(difference(np.arange(len(groups))), *percentile_ends(drawn, units=len(photos)))


class _Restored:
    """What one sampler made: seconds of each batch, error and features of each crop."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: list[Tensor] = []
        self.features: list[Tensor] = []

    def add(self, pictures: Tensor, view: View, extractor: Any) -> None:
        self.errors.append(hole_mse(pictures, view.images, view.corrupted.region).cpu())
        self.features.append(extractor.features(pictures).cpu())

    @property
    def all_errors(self) -> Values:
        return torch.cat(self.errors).double().numpy()

    @property
    def all_features(self) -> Values:
        return torch.cat(self.features).double().numpy()


@contextmanager
def timed(seconds: list[float], device: torch.device) -> Iterator[None]:
    began = time.perf_counter()
    yield
    wait(device)
    seconds.append(time.perf_counter() - began)


def _ends(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {name: round(value, 6) for name, value in interval._asdict().items()}


if __name__ == "__main__":
    main()
