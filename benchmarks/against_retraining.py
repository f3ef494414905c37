"""Time to unlearn against time to retrain, on a real set, each to its stated quality.

    python benchmarks/against_retraining.py TRAIN_FOLDER VAL_FOLDER [--forget-classes 10]

Both folders hold one sub-folder for each class. A model is trained on all classes and once more without the
first classes (in a seeded order); both must restore neutral images at least a fifth better than filling the hole
with the mean of what is visible. Unlearning is good enough when retain images lose at most 2 % and forget images
are restored no better than by the retrained model. Times are those of training alone, from the runs' records.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import efface
from efface.corruptions import parse_corruption
from efface.evaluation.fills import fill_errors
from efface.evaluation.results import find
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.sources import open_images
from efface.progress import Progress
from efface.randomness import numpy_draws
from machine import write_result

CORRUPTION = "centre:0.5"
BETTER_THAN_MEAN = 0.8
RETAIN_LOSS = 1.02


def mean_fill_error(folder: Path, generator: Generator) -> float:
    """Hole error of filling the hole with the mean of the visible pixels, on centre crops of all images."""
    images = open_images(folder)
    with tempfile.TemporaryDirectory() as place, PixelCache(place, generator.image_size) as cache:
        cache.add(images)
        settings = EvaluationSettings()
        return fill_errors(images, cache, generator, parse_corruption(CORRUPTION), settings)["mean"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--forget-classes", type=int, default=10)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--training-steps", type=int, default=4000)
    parser.add_argument("--unlearning-steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/against_retraining"))
    options = parser.parse_args()
    classes = sorted(path.name for path in options.train.iterdir() if path.is_dir())
    chosen = numpy_draws(options.seed, "forget classes").permutation(len(classes))[: options.forget_classes]
    forget = [f"label:{classes[place]}" for place in sorted(chosen)]
    training = {"batch_size": 64, "learning_rate": 1e-3, "precision": "fp32", "warmup": 0.05}
    progress = Progress.on_terminal()
    common = {
        "architecture": {"size": options.size},
        "training": {**training, "steps": options.training_steps},
        "seed": options.seed,
        # classes hold look-alike pictures; which of them are forgotten is what is measured
        "duplicates": "ignore",
        "progress": progress,
    }
    original = efface.train(options.train, out=options.out / "original", **common)
    retrained = efface.train(options.train, without=forget, out=options.out / "retrained", **common)
    result = efface.unlearn(
        original.model,
        images=options.train,
        forget=forget,
        neutral=options.val,
        retrained=retrained.model,
        training={**training, "steps": options.unlearning_steps, "learning_rate": 5e-4},
        duplicates="ignore",
        seed=options.seed,
        out=options.out / "unlearned",
        progress=progress,
    )
    rows = result.rows

    def error(model: str, set_name: str) -> float:
        return find(rows, model, set_name, "hole_mse").value

    mean_fill = mean_fill_error(options.val, original.generator())
    seconds = {
        "training": original.record.durations.training,
        "retraining": retrained.record.durations.training,
        "unlearning": result.record.durations.training,
    }
    retain = error("unlearned", "retain") / error("original", "retain")
    forget_gain = error("unlearned", "forget") / error("retrained", "forget")
    write_result(
        "against_retraining",
        {
            "images": {name: facts.as_dict() for name, facts in result.record.images.sets.items()},
            "forget_classes": forget,
            "seconds": seconds,
            "unlearning_share_of_retraining": round(seconds["unlearning"] / seconds["retraining"], 4),
            "forget_error": {
                model: error(model, "forget") for model in ("original", "unlearned", "retrained")
            },
            "retain_error": {
                model: error(model, "retain") for model in ("original", "unlearned", "retrained")
            },
            "unseen_error": {
                model: error(model, "neutral") for model in ("original", "unlearned", "retrained")
            },
            "unseen_error_of_mean_fill": mean_fill,
            "quality": {
                "trained_beats_mean_fill": error("retrained", "neutral") <= BETTER_THAN_MEAN * mean_fill,
                "retain_within_2_percent": retain <= RETAIN_LOSS,
                "forget_at_least_retrained": forget_gain >= 1,
                "retain_unlearned_over_original": round(retain, 4),
                "forget_unlearned_over_retrained": round(forget_gain, 4),
            },
        },
    )


if __name__ == "__main__":
    main()
