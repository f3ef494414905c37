"""Time and memory of the forgetting scores at the competition's size, and how their cost grows.

    python benchmarks/forgetting_score.py [--examples 1500]
    python benchmarks/forgetting_score.py --smoke

The published rule stands in its plainest form: every one of its 160,000 intervals and every single threshold against
every model, as tiled masks and their means on one thread, measured on a few examples and extrapolated to all. Its
epsilon must equal ours on those. Times are processor seconds of one thread, so that other work on the machine
matters little; memory is the rise of the peak above the arrays.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efface.forgetting.official import DELTA, official_score
from efface.forgetting.robust import robust_score
from efface.randomness import numpy_draws
from machine import add_options, finish, spread

TILED_EXAMPLES = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """Models a side, and the numbers of models and of examples at which growth is measured."""

    models: int
    by_examples: tuple[int, ...]
    by_models: tuple[int, ...]
    fixed_models: int = 128
    fixed_examples: int = 200


FULL = Sizes(512, (250, 500, 1000, 2000), (64, 128, 256, 512, 1024))
SMOKE = Sizes(16, (5, 10), (8, 16), 16, 10)


def sides(models: int, examples: int) -> tuple[Floats, Floats]:
    """Both sides of one normal law with the spread that logit-scaled confidences have."""
    draws = numpy_draws("benchmark", "forgetting", models, examples)
    return draws.normal(0, 1.5, (models, examples)), draws.normal(0, 1.5, (models, examples))


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def tiled_epsilon(unlearned: Floats, retrained: Floats) -> float:
    """The published rule for one example: all thresholds tiled against all models."""
    positive, negative = torch.from_numpy(unlearned), torch.from_numpy(retrained)
    if np.median(retrained) > np.median(unlearned):
        positive, negative = negative, positive
    pooled = torch.cat([positive, negative])
    low, high = pooled.min(), pooled.max()
    thresholds = torch.linspace(low, high, int(torch.ceil((high - low) * 100)))
    tiles = thresholds.tile((len(positive), 1))
    single = _rates(_tiled(positive, tiles) >= tiles, _tiled(negative, tiles) >= tiles)
    ranges = [float(side.max() - side.min()) for side in (positive, negative)]
    peaky, other = (positive, negative) if ranges[0] < ranges[1] else (negative, positive)
    width = min(ranges)
    first, last = float(peaky.min()) + width - 2.0, float(peaky.max()) + 2.0
    ends = np.linspace(first, last, int(np.ceil((last - first) * 100)))
    left = np.concatenate([np.linspace(end - width - 2.0, end - width + 2.0, 400) for end in ends])
    lefts = torch.from_numpy(left).tile((len(peaky), 1))
    rights = torch.from_numpy(np.repeat(ends, 400)).tile((len(peaky), 1))
    inside = [(lefts <= _tiled(side, lefts)) & (_tiled(side, lefts) <= rights) for side in (peaky, other)]
    fnr, fpr = (np.concatenate(pair) for pair in zip(single, _rates(*inside), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.fmax(np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr))
    useful = np.where((fpr == 0) | (fnr == 0), np.nan, np.maximum(ways, 0))
    return min(float(np.nanmax(np.where((fpr == 0) & (fnr == 0), np.inf, useful))), 50.0)


def _tiled(values: Tensor, like: Tensor) -> Tensor:
    return values[:, None].tile((1, like.shape[1]))


def _rates(positive: Tensor, negative: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    fnr = torch.logical_not(positive).type(torch.float32).mean(0)
    return fnr.numpy(), negative.type(torch.float32).mean(0).numpy()


def growth(score: Callable[[Floats, Floats], Any], sizes: Sizes) -> dict[str, dict[str, float]]:
    """Seconds by the number of examples, and by the number of models."""
    return {
        "by_examples": {
            str(s): round(seconds(lambda s=s: score(*sides(sizes.fixed_models, s))), 3)
            for s in sizes.by_examples
        },
        "by_models": {
            str(n): round(seconds(lambda n=n: score(*sides(n, sizes.fixed_examples))), 3)
            for n in sizes.by_models
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=1500)
    add_options(parser)
    options = parser.parse_args()
    examples, sizes = (20, SMOKE) if options.smoke else (options.examples, FULL)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    u, r = sides(sizes.models, examples)
    official_score(u[:, :5], r[:, :5])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    official = [seconds(lambda: official_score(u, r)) for _ in range(3)]
    official_memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    point = seconds(lambda: robust_score(u, r, deals=0))
    robust = seconds(lambda: robust_score(u, r))
    robust_memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    grown = {
        "official": growth(official_score, sizes),
        "robust": growth(lambda a, b: robust_score(a, b, deals=0), sizes),
    }
    ours = official_score(u[:, :TILED_EXAMPLES], r[:, :TILED_EXAMPLES]).epsilon
    tiled, difference = [], 0.0
    for place in range(TILED_EXAMPLES):
        began = time.process_time()
        theirs = tiled_epsilon(np.ascontiguousarray(u[:, place]), np.ascontiguousarray(r[:, place]))
        tiled.append(time.process_time() - began)
        difference = max(difference, abs(theirs - ours[place]))
    whole = float(np.median(tiled)) * examples
    finish(
        "forgetting_score",
        {
            "models": sizes.models,
            "examples": examples,
            "load_average_at_start": round(load, 1),
            "official_seconds": spread(official),
            "official_memory_mib": round(official_memory, 1),
            "robust_seconds_with_interval": round(robust, 1),
            "robust_seconds_without": round(point, 2),
            "robust_memory_mib": round(robust_memory, 1),
            "tiled_examples": TILED_EXAMPLES,
            "tiled_seconds_per_example": spread(tiled),
            "tiled_seconds_extrapolated": round(whole),
            "largest_difference_of_epsilon": difference,
            "times_faster": round(whole / float(np.median(official))),
            "seconds": grown,
        },
        options,
    )


if __name__ == "__main__":
    main()
