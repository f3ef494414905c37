"""A study of forgetting whole classes: a model that learnt them, one that never saw them, one that unlearned them.

    python benchmarks/study.py benchmarks/studies/mae-imagenet64.yaml --data DATA --out runs/studies

`DATA` is a folder that holds, for each set, `NAME-train` and `NAME-val` with a sub-folder for each class, or the same
as `.npz` archives of encoded pictures (arrays `bytes`, `offset`, `label`, `classes`). For every seed the original and
the retrained model are trained anew; neutral images come from the validation part, of the same classes. A model whose
neutral error is not clearly below that of filling the hole without any model is too weak, and the study void. The
same command continues a study that was stopped.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

import efface
from efface.corruptions import parse_corruption
from efface.evaluation.fills import Strength, fill_errors
from efface.evaluation.results import Row, find
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.sources import open_images
from efface.progress import Progress
from efface.randomness import numpy_draws
from efface.settings import read_yaml
from machine import write_result

MODELS, SETS = ("original", "unlearned", "retrained"), ("forget", "retain", "neutral")
METRICS = ("hole_mse", "ssim", "feature_cosine", "kernel_distance")
CONFIDENCE = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, help="the first so many seeds of the study")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    study = read_yaml(options.study)
    folder = options.out / options.study.stem
    images = prepare(study["images"], options.data, folder / "images")
    seeds = study["seeds"][: options.seeds]
    progress = Progress.on_terminal()
    found = []
    for seed in seeds:
        progress.say(f"seed {seed}")
        found.append(one_seed(study, images, seed, folder / f"seed-{seed}", progress))
    name = f"study_{options.study.stem.replace('-', '_')}"
    write_result(name, {"study": study, **summary(found, seeds)}, options.results)


def prepare(wanted: Mapping[str, Any], data: Path, out: Path) -> dict[str, list[Path]]:
    """The chosen images as folders by class; the classes are drawn once, for all seeds of the study."""
    count = wanted["forget_classes"] + wanted["retain_classes"]
    parts: dict[str, list[Path]] = {}
    for part, each in (("train", wanted["per_class"]), ("val", wanted["neutral_per_class"])):
        labels, pictures = read(data, f"{wanted['set']}-{part}")
        classes = numpy_draws(wanted["draw"], "classes").permutation(sorted(set(labels)))[:count].tolist()
        for label in classes:
            place = out / part / label
            if not place.exists():
                mine = [number for number, other in enumerate(labels) if other == label]
                chosen = numpy_draws(wanted["draw"], part, label).permutation(mine)[:each]
                place.mkdir(parents=True)
                for number in sorted(chosen.tolist()):
                    (place / f"{number:05d}.jpg").write_bytes(pictures[number])
        parts[part] = [out / part / label for label in classes]
    forget = wanted["forget_classes"]
    return {"forget": parts["train"][:forget], "retain": parts["train"][forget:], "neutral": parts["val"]}


def read(data: Path, name: str) -> tuple[list[str], list[bytes]]:
    """Class and encoded bytes of every picture of one part of a set."""
    archive = data / f"{name}.npz"
    if not archive.exists():
        files = sorted((data / name).glob("*/*"))
        return [file.parent.name for file in files], [file.read_bytes() for file in files]
    with np.load(archive, allow_pickle=False) as arrays:
        encoded, offset = arrays["bytes"], arrays["offset"]
        names = arrays["wnid"] if "wnid" in arrays.files else arrays["classes"]
        labels = [str(names[label]) for label in arrays["label"]]
    pictures = [encoded[a:b].tobytes() for a, b in itertools.pairwise(offset)]
    return labels, pictures


def one_seed(
    study: Mapping[str, Any], images: Mapping[str, list[Path]], seed: int, out: Path, progress: Progress
) -> dict[str, Any]:
    """Train, retrain, unlearn and measure with one seed."""
    everything = {"progress": progress, "duplicates": "ignore"}
    source = images["forget"][0].parent
    original = efface.train(source, out=out / "original", seed=seed, **everything, **study["train"])
    without = [str(folder) for folder in images["forget"]]
    retrained = efface.train(
        source, without=without, out=out / "retrained", seed=seed + 1000, **everything, **study["train"]
    )
    result = efface.unlearn(
        original.model,
        forget=images["forget"],
        retain=images["retain"],
        neutral=images["neutral"],
        retrained=retrained.model,
        out=out / "unlearned",
        seed=seed,
        with_pictures=True,
        **everything,
        **study["unlearn"],
    )
    settings = EvaluationSettings.read(study["unlearn"].get("evaluation", {}))
    corruption = study["unlearn"].get("corruption", "centre:0.5")
    fills = fills_of(images["neutral"], original.generator(), corruption, settings)
    strength = Strength(error(result.rows, "original", "neutral"), fills)
    progress.say(f"the original model on neutral images: {strength}")
    return {
        "rows": result.rows,
        "strength": strength,
        "seconds": {
            "training": original.record.durations.training,
            "retraining": retrained.record.durations.training,
            "unlearning": result.record.durations.training,
        },
    }


def fills_of(
    folders: Sequence[Path], generator: Generator, corruption: str, settings: EvaluationSettings
) -> dict[str, float]:
    """What filling without a model gives on the very views of the evaluation."""
    images = open_images(folders[0])
    for folder in folders[1:]:
        images = images.union(open_images(folder))
    cache = PixelCache(folders[0].parents[1] / "cache", round(generator.image_size * 8 / 7))
    try:
        cache.add(images)
        return fill_errors(images, cache, generator, parse_corruption(corruption), settings)
    finally:
        cache.close()


def error(rows: list[Row], model: str, set_name: str, metric: str = "hole_mse") -> float:
    value = find(rows, model, set_name, metric).value  # type: ignore[arg-type]
    return float("nan") if value is None else value


def summary(found: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any]:
    """Means over seeds with Student's interval, and what decides whether the study counts."""
    table = {
        metric: {
            set_name: {
                model: over_seeds([error(seed["rows"], model, set_name, metric) for seed in found])
                for model in MODELS
            }
            for set_name in SETS
        }
        for metric in METRICS
    }
    errors = {model: np.array([error(seed["rows"], model, "forget") for seed in found]) for model in MODELS}
    strengths = [seed["strength"] for seed in found]
    return {
        "seeds": seeds,
        "void": not all(strength.sufficient for strength in strengths),
        "strength": [
            {"neutral_error": s.error, **{f"fill_{name}": value for name, value in s.fills.items()}}
            for s in strengths
        ],
        "forget_error_ratio": {
            "original_to_retrained": over_seeds(errors["original"] / errors["retrained"]),
            "unlearned_to_retrained": over_seeds(errors["unlearned"] / errors["retrained"]),
        },
        "seconds": {
            name: round(float(np.mean([seed["seconds"][name] for seed in found])), 1)
            for name in found[0]["seconds"]
        },
        "results": table,
    }


def over_seeds(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, Any]:
    """Mean, and Student's interval of it where there are two seeds or more."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return {"mean": mean, "values": array.tolist()}
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return {"mean": mean, "low": mean - half, "high": mean + half, "values": array.tolist()}


if __name__ == "__main__":
    main()
