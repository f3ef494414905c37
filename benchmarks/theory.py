"""Does unlearning move output divergence, mutual information and feature distance as the derivation says?

    python benchmarks/theory.py
    python benchmarks/theory.py --smoke

For every seed a small masked autoencoder is trained on scikit-learn's digits, and another one without the forget
images (128 images of three of the ten classes). `encoder-noise` then runs for 0 to 300 steps, each length a finished
unlearning of its own that starts at the original, with noise from N(0, I) and with noise of the forget set's moments.
`docs/theory.md` reads the result, and `docs/make.py` draws it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits

import efface
from divergence import gaussian_kl, info_nce, shrunk_moments
from efface.corruptions import parse_corruption
from efface.generators.base import Generator, View
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.metrics.image_error import hole_mse
from efface.metrics.intervals import student_interval
from efface.randomness import Draws, numpy_draws
from efface.training.data import Data, pixel_moments
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.settings import TrainingSettings
from machine import add_options, finish

SETS = ("forget", "retain", "neutral_forgotten", "neutral_kept")
"""Neutral images, which no model saw, by whether their class is one of the forgotten ones."""
NOISES = ("standard-normal", "moment-matched")
CORRUPTION = parse_corruption("centre:0.5")
MEASURED = 128
"""Images of each set that are measured: the InfoNCE bounds of all sets then have one cap, log 64."""
RETAIN, FORGET_CLASSES = 384, 3
PIXEL_NOISE = 1 / 32
"""Standard deviation of what is added to every output, half a grey level of the 17 that the digits have: without it
outputs that collapse have a divergence of infinity."""
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)
RIDGE = 1e-2
CONFIDENCE = 0.95
ARCHITECTURE = {
    "image_size": 8, "patch_size": 2, "hidden_size": 48, "layers": 2, "heads": 4,
    "decoder_hidden_size": 48, "decoder_layers": 1, "decoder_heads": 4, "mask_ratio": 0.25,
}  # fmt: skip
COMMON: dict[str, Any] = {
    "batch_size": 32, "precision": "fp32", "crop_scale": (1.0, 1.0), "flip": False, "threads": 1,
}  # fmt: skip
Floats = npt.NDArray[np.float64]
Figures = dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What a model makes of a set: outputs in the hole `[N, 16]`, features `[N, F]`, errors `[N]`."""

    outputs: Floats
    features: Floats
    errors: Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--training-steps", type=int, default=1200)
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 10, 30, 100, 300])
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.training_steps, options.stages = 1, 3, [0, 2]
    began, found = time.monotonic(), []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(seed, options.training_steps, options.stages, Path(folder)))
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    finish(
        "theory",
        {
            "images": {"forget": MEASURED, "retain": RETAIN, "neutral": 2 * MEASURED},
            "measured_of_each_set": MEASURED,
            "cap_of_the_bound": math.log(MEASURED // 2),
            "stages": options.stages,
            "figures": over_seeds(found),
            "correlations": correlations(found),
            "seconds": round(time.monotonic() - began, 1),
        },
        options,
    )


def one_seed(seed: int, steps: int, stages: Sequence[int], folder: Path) -> dict[str, dict[str, Figures]]:
    """Figures by model and by set: the retrained model, what noise gives, and every noise and stage."""
    write_digits(seed, folder / "images")
    training = {**COMMON, "steps": steps, "learning_rate": 3e-3, "corruption": str(CORRUPTION)}
    everything = {"architecture": ARCHITECTURE, "training": training, "duplicates": "ignore"}
    source = folder / "images" / "trained-on"
    original = efface.train(source, out=folder / "original", seed=seed, **everything)
    retrained = efface.train(
        source, without=[source / "forget"], out=folder / "retrained", seed=seed + 1000, **everything
    )
    with PixelCache(folder / "cache", 8) as cache:
        sets = {name: open_images(place_of(folder / "images", name)) for name in SETS}
        for images in sets.values():
            cache.add(images)
        bench = Bench(original.generator(), sets, cache, seed)
        found = {"retrained": bench.figures(retrained.generator(), NOISES[0])}
        for noise in NOISES:
            found[f"{noise} itself"] = bench.figures_of_noise(noise)
            for stage in stages:
                unlearned = bench.unlearned(original.generator(), noise, stage)
                found[f"{noise} {stage}"] = bench.figures(unlearned, noise)
    return found


def write_digits(seed: int, folder: Path) -> None:
    """Digits as 8 x 8 px PNG files, a folder for each set."""
    digits = load_digits()
    random = numpy_draws(seed, "theory", "split")
    order = random.permutation(len(digits.target))
    forgotten = np.isin(digits.target[order], random.permutation(10)[:FORGET_CLASSES])
    of_forgotten, of_kept = order[forgotten], order[~forgotten]
    parts = {
        "forget": of_forgotten[:MEASURED],
        "retain": of_kept[:RETAIN],
        "neutral_forgotten": of_forgotten[MEASURED : 2 * MEASURED],
        "neutral_kept": of_kept[RETAIN : RETAIN + MEASURED],
    }
    for name, places in parts.items():
        place_of(folder, name).mkdir(parents=True)
        for place in places:
            pixels = np.round(digits.images[place] * (255 / 16)).astype(np.uint8)
            Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(
                place_of(folder, name) / f"{place}.png"
            )


def place_of(folder: Path, name: str) -> Path:
    return folder / ("neutral" if name.startswith("neutral") else "trained-on") / name


class Bench:
    """One original, the sets on which it is compared, and how others are made from it."""

    def __init__(
        self, original: Generator, sets: Mapping[str, ImageSet], cache: PixelCache, seed: int
    ) -> None:
        self.original, self.sets, self.cache, self.seed = original.eval(), sets, cache, seed
        self.moments = pixel_moments(sets["forget"], cache)
        self.views = {name: self._view(sets[name].ids[:MEASURED]) for name in SETS}
        self.before = {name: answer(original, self.views[name]) for name in SETS}

    def unlearned(self, generator: Generator, noise: str, steps: int) -> Generator:
        """A copy of the original after `steps` of `encoder-noise`; 0 leaves it as it is."""
        if not steps:
            return generator
        settings = TrainingSettings(**COMMON, steps=steps, learning_rate=5e-4, corruption=str(CORRUPTION))
        sets = {name: self.sets[name] for name in ("forget", "retain")}
        Trainer(
            generator,
            EncoderNoise(noise=noise).phases(),  # type: ignore[arg-type]
            Data(sets, self.cache, self.moments),
            settings,
            self.seed,
            accelerator(settings),
        ).run()
        return generator

    def figures(self, model: Generator, noise: str) -> dict[str, Figures]:
        """What sets `model` apart from the original, on each set."""
        after = {name: answer(model.eval(), self.views[name]) for name in SETS}
        return {name: self._compared(name, after[name], noise) for name in SETS}

    def figures_of_noise(self, noise: str) -> dict[str, Figures]:
        """The same of the goal: the original, shown another noise picture in place of each forget image."""
        return {"forget": self._compared("forget", self._noise_answer(noise, visit=1), noise)}

    def _compared(self, name: str, after: Answer, noise: str) -> Figures:
        before = self.before[name]
        goal = self._noise_answer(noise, visit=0).features
        target = goal if name == "forget" else before.features
        return {
            "output_kl": output_kl(before.outputs, after.outputs),
            "output_entropy": entropy(after.outputs),
            **{f"bound_{critic}": bound for critic, bound in bounds(before.outputs, after.outputs).items()},
            "feature_distance_to_original": float(((after.features - before.features) ** 2).mean()),
            "feature_distance_to_target": float(((after.features - target) ** 2).mean()),
            "stretch": stretch(before, after),
            "unit_feature_distance": unit_distance(before.features, after.features),
            "target_variance": float(goal.var(axis=0, ddof=1).mean()) if name == "forget" else 0.0,
            "hole_error": float(after.errors.mean()),
        }

    def _noise_answer(self, noise: str, visit: int) -> Answer:
        view = self._view(self.sets["forget"].ids[:MEASURED], visit)
        return answer(self.original, self.original.noise_view(view, noise, self.moments))  # type: ignore[arg-type]

    def _view(self, ids: Sequence[str], visit: int = 0) -> View:
        pixels = np.stack([self.cache.read(id_) for id_ in ids]).transpose(0, 3, 1, 2)
        draws = Draws(self.seed + 10_000, tuple(ids), (visit,) * len(ids))
        return self.original.view(torch.from_numpy(pixels), CORRUPTION, draws)


@torch.inference_mode()
def answer(model: Generator, view: View) -> Answer:
    """What `model` makes of `view`, in finished pictures, clipped to [0, 1] as a user sees them."""
    restored = model.restore(view)
    region = view.corrupted.region
    grey = restored.mean(dim=1, keepdim=True)[region].reshape(len(view), -1)
    features = torch.cat([part.flatten(1) for part in model.encode(view)], dim=1)
    return Answer(
        grey.double().numpy(),
        features.double().numpy(),
        hole_mse(restored, view.images, region).double().numpy(),
    )


def output_kl(before: Floats, after: Floats) -> float:
    """KL(before || after) in nats of the Gaussians of both output sets, with pixel noise added to each."""
    return gaussian_kl(*noisy_moments(before), *noisy_moments(after))


def entropy(outputs: Floats) -> float:
    """Differential entropy in nats of the Gaussian of an output set, with pixel noise added."""
    _, covariance = noisy_moments(outputs)
    dimension = len(covariance)
    return float(np.linalg.slogdet(covariance)[1] + dimension * math.log(2 * math.pi * math.e)) / 2


def noisy_moments(outputs: Floats) -> tuple[Floats, Floats]:
    mean, covariance = shrunk_moments(outputs, 0.0)
    return mean, covariance + PIXEL_NOISE**2 * np.eye(len(mean))


def bounds(before: Floats, after: Floats) -> Figures:
    """InfoNCE bounds on the information between both outputs of one image, by critic.

    `same` compares the outputs as they are. `linear` first maps the outputs after to those before with a ridge
    regression, and so finds what is still there in another form. Everything fitted (mean, map, temperature) is fitted
    on one half of the images and judged on the other, so that both are lower bounds; both halves take turns.
    """
    found: dict[str, list[float]] = {"same": [], "linear": []}
    halves = np.arange(len(before)) % 2 == 0
    for fit in (halves, ~halves):
        centre = before[fit].mean(axis=0)
        weights = ridge(after[fit], before[fit])
        critics = {
            "same": lambda x, c=centre: x - c,
            "linear": lambda x, w=weights, c=centre: affine(x, w) - c,
        }
        for name, seen in critics.items():
            chosen = max(TEMPERATURES, key=lambda t, s=seen: info_nce(before[fit] - centre, s(after[fit]), t))
            found[name].append(info_nce(before[~fit] - centre, seen(after[~fit]), chosen))
    return {name: float(np.mean(values)) for name, values in found.items()}


def ridge(inputs: Floats, targets: Floats) -> Floats:
    """Weights `[D + 1, D']` of the regression of targets on inputs, a constant included."""
    extended = np.hstack([inputs, np.ones((len(inputs), 1))])
    penalty = RIDGE * np.eye(extended.shape[1])
    penalty[-1, -1] = 0
    weights: Floats = np.linalg.solve(extended.T @ extended + penalty, extended.T @ targets)
    return weights


def affine(inputs: Floats, weights: Floats) -> Floats:
    mapped: Floats = inputs @ weights[:-1] + weights[-1]
    return mapped


def stretch(before: Answer, after: Answer) -> float:
    """Largest change of an output over that of its features: at most the decoder's Lipschitz constant."""
    features = np.linalg.norm(after.features - before.features, axis=1)
    outputs = np.linalg.norm(after.outputs - before.outputs, axis=1)
    return float(np.max(outputs / np.where(features > 0, features, np.inf)))


def unit_distance(a: Floats, b: Floats) -> float:
    """Mean squared distance of features scaled to length 1: 2 - 2 cos."""
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float((2 - 2 * cosines).mean())


def over_seeds(found: list[dict[str, dict[str, Figures]]]) -> dict[str, Any]:
    """Mean and Student's interval of every figure, by model and set."""
    return {
        model: {
            name: {
                figure: student([seed[model][name][figure] for seed in found])
                for figure in found[0][model][name]
            }
            for name in found[0][model]
        }
        for model in found[0]
    }


def correlations(found: list[dict[str, dict[str, Figures]]]) -> dict[str, Any]:
    """Spearman's rank correlation, over the stages of one seed, of how far features moved and each other figure."""
    others = ("output_kl", "bound_same", "bound_linear", "hole_error")
    table: dict[str, Any] = {}
    for noise in NOISES:
        for name in SETS:
            runs = [[seed[model][name] for model in seed if staged(model, noise)] for seed in found]
            table[f"{noise} {name}"] = {
                other: student([rank_correlation(run, "feature_distance_to_original", other) for run in runs])
                for other in others
            }
    return table


def staged(model: str, noise: str) -> bool:
    return model.startswith(f"{noise} ") and model.rpartition(" ")[2].isdigit()


def rank_correlation(run: list[Figures], x: str, y: str) -> float:
    return float(stats.spearmanr([stage[x] for stage in run], [stage[y] for stage in run]).statistic)


def student(values: Sequence[float]) -> dict[str, Any]:
    """Mean and Student's interval at 95 % over seeds, and the values themselves."""
    interval = student_interval(values, CONFIDENCE)
    result: dict[str, Any] = {"mean": rounded(float(np.mean(values)))}
    if interval:
        result |= {"low": rounded(interval.low), "high": rounded(interval.high)}
    return result | {"values": [rounded(value) for value in values]}


def rounded(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    main()
