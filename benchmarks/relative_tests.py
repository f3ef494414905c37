"""False alarms and power of the relative tests (docs/forgetting/statistics.md), by simulation.

Models: N models a side, vectors of 5 numbers, standard normal but for what a row says. Photos: one model each, log
errors of photos in 2 views; photos differ by 0.7, models on a photo by 0.2, a remembered photo has 0.5 less (give or
take 0.3). Tests at 5 %.

    python benchmarks/relative_tests.py
    python benchmarks/relative_tests.py --smoke
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError
from efface.forgetting.relative import closer_to_retrained, relative_mmd
from efface.forgetting.relative_divergence import Divergence, relative_divergence
from efface.randomness import numpy_draws
from machine import add_options, finish

Floats = NDArray[np.float64]
Draws = np.random.Generator
LEVEL = 0.05
NUMBERS, VIEWS = 5, 2
MODELS, PHOTOS = (8, 16, 32, 64), (8, 20, 60)
DIFFICULTY, NOISE, MEMORY, MEMORY_SPREAD, SEED_SHIFT = 0.7, 0.2, 0.5, 0.3, 0.05


class World(NamedTuple):
    """What is drawn, and whether the hypothesis of the test holds there."""

    draw: Callable[[Draws, int], tuple[Floats, Floats, Floats]]
    holds: bool


def models(unlearned: float, other: float, *, scale: float = 1.0, partly: float = 1.0) -> World:
    """Unlearned, a second and a third set: the first two shifted by so much, or the first spread wider.

    partly: share of the unlearned models that are shifted. The hypothesis is that the second is as near to the third.
    """

    def draw(draws: Draws, count: int) -> tuple[Floats, Floats, Floats]:
        u, second, third = draws.normal(size=(3, count, NUMBERS))
        shifted = draws.random((count, 1)) < partly
        return scale * u + unlearned * shifted, second + other, third

    return World(draw, holds=scale == 1 and abs(unlearned) == abs(other))


def between(original: float, retrained: float) -> World:
    """Unlearned, original and retrained models, these shifted to either side: equally far, or the retrained nearer."""

    def draw(draws: Draws, count: int) -> tuple[Floats, Floats, Floats]:
        u, o, r = draws.normal(size=(3, count, NUMBERS))
        return u, o + original, r + retrained

    return World(draw, holds=abs(original) == abs(retrained))


def photos(forgotten: float, *, memory: float = MEMORY) -> World:
    """Log errors under one unlearned, original and retrained model; forgotten: share of the memory that is gone."""

    def draw(draws: Draws, count: int) -> tuple[Floats, Floats, Floats]:
        difficulty = draws.normal(0, DIFFICULTY, (count, 1))
        remembered = (memory > 0) * draws.normal(memory, MEMORY_SPREAD, (count, 1))
        noise = draws.normal(0, NOISE, (3, count, VIEWS))
        kept = np.array([1 - forgotten, 1, 0])[:, None, None]
        u, o, r = difficulty - kept * remembered + noise
        return u, o, r

    return World(draw, holds=not memory or forgotten <= 0.5)


def retrainings(memory: float, *, seed_shift: float = 0.0) -> World:
    """Log errors under one unlearned model, another retraining and a retrained model, less the photo's mean of the three.

    memory: by how much the unlearned model's are lower. seed_shift: by how much a seed shifts all errors of a model alike.
    """

    def draw(draws: Draws, count: int) -> tuple[Floats, Floats, Floats]:
        errors = draws.normal(0, NOISE, (3, count, VIEWS)) + draws.normal(0, seed_shift, (3, 1, 1))
        errors -= np.array([memory, 0, 0])[:, None, None]
        u, other, r = errors - errors.mean(axis=0)
        return u, other, r

    return World(draw, holds=not memory)


MMD_OF_MODELS = {
    "one law": between(0, 0),
    "equally far": between(0.5, -0.5),
    "retrained nearer": between(1.0, -0.5),
}
MMD_OF_PHOTOS = {
    "nothing was remembered": photos(1, memory=0),
    "nothing forgotten": photos(0),
    "half way": photos(0.5),
    "three quarters of the way": photos(0.75),
    "forgotten": photos(1),
}
DIVERGENCE_OF_MODELS = {
    "another retraining": models(0, 0),
    "equally far, unlike": models(0.5, -0.5),
    "shifted": models(0.8, 0),
    "spread wider": models(0, 0, scale=1.6),
    "a third shifted far": models(3, 0, partly=1 / 3),
}
DIVERGENCE_OF_PHOTOS = {
    "another retraining": retrainings(0),
    "another retraining, seeds shift errors": retrainings(0, seed_shift=SEED_SHIFT),
    "a third of the memory left": retrainings(MEMORY / 3),
}


def alarms(
    world: World, count: int, sets: int, test: Callable[[Floats, Floats, Floats, int], float | None]
) -> dict[str, float]:
    """Share of data sets in which the test rejects, and of those in which it has no value."""
    values = [
        test(*world.draw(numpy_draws(number, "relative", count), count), number) for number in range(sets)
    ]
    had = [value for value in values if value is not None]
    return {
        "rejected": round(float(np.mean([value <= LEVEL for value in had])), 3),
        "without_value": round(1 - len(had) / sets, 3),
    }


def mmd(published: bool = False) -> Callable[[Floats, Floats, Floats, int], float | None]:
    """The p value of the relative MMD test; None where the published one has none."""

    def test(x: Floats, y: Floats, z: Floats, _: int) -> float | None:
        try:
            return relative_mmd(x, y, z, published=published).p_value
        except InputError:
            return None

    return test


def of_photos(u: Floats, o: Floats, r: Floats, _: int) -> float:
    """The p value of the probe `closer-to-retrained`."""
    return closer_to_retrained(u, o, r).p_value


def divergence(
    kind: Divergence, permutations: int, paired: bool = False
) -> Callable[[Floats, Floats, Floats, int], float]:
    """The p value of the relative divergence test."""

    def test(u: Floats, other: Floats, r: Floats, seed: int) -> float:
        test = relative_divergence(
            u, r, other, divergence=kind, paired=paired, permutations=permutations, seed=seed
        )
        return test.p_value

    return test


def of_worlds(
    worlds: Mapping[str, World],
    counts: tuple[int, ...],
    sets: int,
    test: Callable[[Floats, Floats, Floats, int], float | None],
) -> dict[str, dict[str, object]]:
    """By world: whether the hypothesis holds there, and what the test does at each count."""
    return {
        name: {
            "hypothesis_holds": world.holds,
            "by_rows": {str(count): alarms(world, count, sets, test) for count in counts},
        }
        for name, world in worlds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=1000, help="simulated data sets of the relative MMD test")
    parser.add_argument("--fewer", type=int, default=300, help="the same of the relative divergence test")
    parser.add_argument("--permutations", type=int, default=199)
    add_options(parser)
    options = parser.parse_args()
    sets, fewer, permutations = (
        (2, 2, 19) if options.smoke else (options.sets, options.fewer, options.permutations)
    )
    values = {
        "sets": sets,
        "sets_of_divergence": fewer,
        "mmd": of_worlds(MMD_OF_MODELS, MODELS, sets, mmd()),
        "mmd_published": of_worlds(MMD_OF_MODELS, MODELS, sets, mmd(published=True)),
        "mmd_photos": of_worlds(MMD_OF_PHOTOS, PHOTOS, sets, of_photos),
        **{
            f"divergence_{kind}": of_worlds(
                DIVERGENCE_OF_MODELS, MODELS, fewer, divergence(kind, permutations)
            )
            for kind in get_args(Divergence)
        },
        "divergence_photos": of_worlds(
            DIVERGENCE_OF_PHOTOS, PHOTOS, fewer, divergence("hockey-stick", permutations, paired=True)
        ),
    }
    finish("relative_tests", values, options)


if __name__ == "__main__":
    main()
