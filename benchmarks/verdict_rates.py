"""How often each verdict is said of models whose truth is known: errors are drawn from a law, no network is trained.

    python benchmarks/verdict_rates.py
    python benchmarks/verdict_rates.py --smoke

A photo's error under a model is its difficulty (log-normal) times what the model makes of its set, times the chance of
that model on that photo. Two models trained alike differ in all but the difficulty, and by a common factor, as seeds do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from efface.evaluation.settings import EvaluationSettings
from efface.evaluation.verdict import WORDS, Verdict, verdict_of
from efface.metrics.image_error import HoleMse
from efface.randomness import numpy_draws
from machine import add_options, finish

Values = np.ndarray
SETS = ("forget", "retain", "neutral")


@dataclass(frozen=True)
class Law:
    """photos: of forget, retain and neutral. known: error on remembered photos over that on unseen ones.

    spread, chance, seeds: standard deviations of logarithms, of difficulties, of one model on one photo, and of the common
    factor of one training.
    """

    photos: tuple[int, int, int] = (60, 240, 120)
    known: float = 0.5
    spread: float = 0.7
    chance: float = 0.2
    seeds: float = 0.02


class World:
    """Difficulties of all photos, and models' errors on them."""

    def __init__(self, law: Law, seed: int) -> None:
        self.law, self.draws = law, numpy_draws(seed, "verdict rates", repr(law))
        self.difficulty = {
            name: 0.05 * np.exp(law.spread * self.draws.standard_normal(count))
            for name, count in zip(SETS, law.photos, strict=True)
        }

    def model(self, *seen: str, known: float | None = None) -> dict[str, Values]:
        """Errors of a model that was trained on these sets."""
        law, level = self.law, np.exp(self.law.seeds * self.draws.standard_normal())
        factor = law.known if known is None else known
        return {
            name: level * (factor if name in seen else 1.0) * values
            * np.exp(law.chance * self.draws.standard_normal(len(values)))
            for name, values in self.difficulty.items()
        }  # fmt: skip


Models = dict[str, dict[str, Values]]


def _with(original: dict[str, Values], **sets: Values) -> dict[str, Values]:
    return {**original, **sets}


def retrained(world: World) -> Models:
    """The honest opposite: another retraining."""
    return {
        "original": world.model("forget", "retain"),
        "unlearned": world.model("retain"),
        "retrained": world.model("retain"),
    }


def good(world: World) -> Models:
    """Forget photos as another retraining treats them, the others as the original does."""
    original = world.model("forget", "retain")
    return {
        "original": original,
        "unlearned": _with(original, forget=world.model("retain")["forget"]),
        "retrained": world.model("retain"),
    }


def copied(world: World) -> Models:
    """Nothing was done."""
    original = world.model("forget", "retain")
    return {"original": original, "unlearned": original, "retrained": world.model("retain")}


def seen(world: World) -> Models:
    """Another training on everything."""
    return {
        "original": world.model("forget", "retain"),
        "unlearned": world.model("forget", "retain"),
        "retrained": world.model("retain"),
    }


def part(left: float) -> Callable[[World], Models]:
    """A model that still has this share of the gap."""

    def models(world: World) -> Models:
        original = world.model("forget", "retain")
        known = 1 - left * (1 - world.law.known)
        half = world.model("forget", known=known)["forget"]
        return {
            "original": original,
            "unlearned": _with(original, forget=half),
            "retrained": world.model("retain"),
        }

    return models


def multiplied(world: World) -> Models:
    """All errors raised alike, by the factor that takes forget photos to the retrained model's level."""
    original, reference = world.model("forget", "retain"), world.model("retain")
    factor = reference["forget"].mean() / original["forget"].mean()
    raised = {name: values * factor for name, values in world.model("forget", "retain").items()}
    return {"original": original, "unlearned": raised, "retrained": reference}


def added(world: World) -> Models:
    """The same amount added to all errors."""
    original, reference = world.model("forget", "retain"), world.model("retain")
    amount = reference["forget"].mean() - original["forget"].mean()
    raised = {
        name: values + amount * np.exp(0.3 * world.draws.standard_normal(len(values)))
        for name, values in original.items()
    }
    return {"original": original, "unlearned": raised, "retrained": reference}


def noise(world: World) -> Models:
    """Errors of noise, on every photo."""
    original = world.model("forget", "retain")
    out = {
        name: 0.2 * np.exp(0.1 * world.draws.standard_normal(len(values)))
        for name, values in original.items()
    }
    return {"original": original, "unlearned": out, "retrained": world.model("retain")}


def spoilt_reference(world: World) -> Models:
    """The reference saw the images; forget photos are as in a part-way model."""
    return {**part(0.5)(world), "retrained": world.model("forget", "retain")}


def spoilt_and_copied(world: World) -> Models:
    """The reference saw the images, and nothing was done."""
    return {**copied(world), "retrained": world.model("forget", "retain")}


def weak_reference(world: World) -> Models:
    """The reference saw the images and is worse at everything, where forget photos are made to lie."""
    original = world.model("forget", "retain")
    weak = {name: 1.2 * values for name, values in world.model("forget", "retain").items()}
    return {
        "original": original,
        "unlearned": _with(original, forget=1.2 * world.model("forget")["forget"]),
        "retrained": weak,
    }


def copied_reference(world: World) -> Models:
    """A copy of the original stands for the retrained model."""
    models = part(0.0)(world)
    return {**models, "retrained": models["original"]}


def forgetful(world: World) -> Models:
    """Exact retraining of a model that remembered nothing."""
    return {"original": world.model(), "unlearned": world.model(), "retrained": world.model()}


def far(world: World) -> Models:
    """Forget photos as far beyond the retrained model as the original lies before it."""
    return part(-1.0)(world)


CASES: dict[str, Callable[[World], Models]] = {
    "retrained once more": retrained,
    "forget photos as retrained, the rest untouched": good,
    "nothing done": copied,
    "trained on everything once more": seen,
    "nine tenths left": part(0.9),
    "half left": part(0.5),
    "a third left": part(1 / 3),
    "overshoot": far,
    "all errors multiplied": multiplied,
    "all errors raised by one amount": added,
    "noise": noise,
    "reference saw the images; half left": spoilt_reference,
    "reference saw the images; nothing done": spoilt_and_copied,
    "reference saw the images and is worse at all": weak_reference,
    "reference is the original": copied_reference,
    "nothing was remembered": forgetful,
}
EVEN, SKEWED = (0.5, 0.1, 0.01), (1.0, 0.4, 0.03)
LAWS = {
    f"{count} forget photos, error of remembered ones {known:g} of unseen ones, {tail}": Law(
        (count, 4 * count, 2 * count), known, *spread
    )
    for count, known, tail, spread in (
        (8, 0.5, "even", EVEN),
        (30, 0.5, "even", EVEN),
        (120, 0.5, "even", EVEN),
        (120, 0.85, "even", EVEN),
        (120, 0.5, "skewed", SKEWED),
        (500, 0.5, "skewed", SKEWED),
    )
}


def judged(case: str, law: Law, seed: int) -> Verdict:
    """The verdict on one draw of a case."""
    models = CASES[case](World(law, seed))
    values = {name: {model: given[name] for model, given in models.items()} for name in SETS}
    return verdict_of(values, HoleMse, EvaluationSettings(resamples=1000, seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100, help="draws of each case and law")
    add_options(parser)
    options = parser.parse_args()
    seeds, laws = (2, dict(list(LAWS.items())[:2])) if options.smoke else (options.seeds, LAWS)
    rates: dict[str, dict[str, dict[str, int]]] = {}
    for title, law in laws.items():
        for case in CASES:
            verdicts = [judged(case, law, seed) for seed in range(seeds)]
            words = Counter(one.word for one in verdicts)
            specific = sum(one.specific.word == "yes" for one in verdicts)
            rates.setdefault(title, {})[case] = {
                **{word: words[word] for word in WORDS},
                "specific": specific,
            }
    finish("verdict_rates", {"seeds": seeds, "rates": rates}, options)


if __name__ == "__main__":
    main()
