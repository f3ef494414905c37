"""A forgetting score with what it must be read beside, all at one number of models.

- ceiling: retrained against retrained, what a perfect unlearner would get;
- floor: two kinds of models told apart in every single model;
- doing nothing: the original model against the retrained one.

None of these is 1 or 0 by itself: the official rule gives retrained against retrained about 0.19, and what total
separation costs depends on the number of models. Where floor and ceiling overlap, a score cannot show
anything, and the verdict then says so. Whether the models are told apart from retrained ones, and how far, is said by
a test and an effect that hold at any number of models (`apart`).

Equal numbers: where twice as many retrained models are given as unlearned ones, the ceiling compares two disjoint
halves of them, and everything is at the full number of unlearned models. Otherwise the ceiling splits the retrained
models in halves, and score, floor and doing nothing are taken again at that smaller number (`at_equal_models`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from efface.errors import Faults, InputError
from efface.forgetting.apart import ToldApart, told_apart
from efface.forgetting.arrays import Floats, models_by_examples
from efface.forgetting.intervals import around, bootstrap_interval
from efface.forgetting.official import official_score
from efface.forgetting.robust import Tail, robust_score
from efface.forgetting.sameness import imprecise, oddities
from efface.randomness import numpy_draws
from efface.settings import Settings, unknown_name
from efface.wording import counted

Mode = Literal["official", "robust"]
MODES: tuple[Mode, ...] = ("official", "robust")
FEWEST_MODELS = 8
ROUNDS = 20
SPLITS = 10


class ScoreRange(Settings):
    """The mean of a score over random choices of models, and where one score falls in 95 %."""

    value: float = Field(description="the mean")
    low: float = Field(description="lower end")
    high: float = Field(description="upper end")


class FinalScore(Settings):
    """The competition's final score and its parts."""

    value: float = Field(description="score times both ratios, as published")
    clipped: float = Field(
        description="the same with ratios above 1 taken as 1, so that more accuracy does not pay for bad forgetting"
    )
    retain_ratio: float | None = Field(description="accuracy on retain examples, unlearned / retrained")
    test_ratio: float | None = Field(description="accuracy on test examples, unlearned / retrained")


@dataclass(frozen=True)
class Comparison:
    """A score and its references. Scores: 1 is best, 0 worst; read them between `floor` and `ceiling`.

    `score`, `interval` (95 %), `epsilon` `[examples]`: at `models` models a side. In official mode the interval is
    the bootstrap over examples and models; in robust mode the calibrated one of `robust`, and `bootstrap` holds the
    other. `apart`: whether the models are told apart from retrained ones, and how far; `tail` and `tail_by_chance`: the
    worst examples, and what dealt labels give (robust mode). `score_at_equal_models`, `ceiling`, `floor`, `do_nothing`
    (None without originals): at `equal_models`.
    `share_of_ceiling`: (score - floor) / (ceiling - floor) there, None where floor and ceiling overlap.
    `measurable`: whether they do not. `power`: share of total separation's distance that chance leaves free,
    (ceiling.low - floor.high) / (ceiling - floor), at least 0. `unresolved`: examples the official grid says nothing of.
    `imprecise`: examples whose values the arrays' precision does not tell apart (`sameness`).
    `notes`: what is odd about the arrays, in sentences (`sameness`).
    """

    mode: Mode
    models: int
    score: float
    interval: tuple[float, float]
    bootstrap: tuple[float, float]
    apart: ToldApart
    tail: Tail | None
    tail_by_chance: Tail | None
    epsilon: Floats
    points: Floats
    epsilon_low: Floats | None
    equal_models: int
    score_at_equal_models: ScoreRange
    ceiling: ScoreRange
    floor: ScoreRange
    do_nothing: ScoreRange | None
    measurable: bool
    share_of_ceiling: float | None
    power: float
    final: FinalScore
    unresolved: tuple[int, ...]
    imprecise: tuple[int, ...]
    verdict: str
    notes: tuple[str, ...]


def compare(
    unlearned: ArrayLike,
    retrained: ArrayLike,
    original: ArrayLike | None = None,
    *,
    retain_accuracy: tuple[float, float] | None = None,
    test_accuracy: tuple[float, float] | None = None,
    mode: Mode = "official",
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Comparison:
    """Score `unlearned` against `retrained`, both `[models, examples]`, with every reference that they allow.

    `original` `[models, examples]` gives the value of doing nothing. Accuracies are pairs (mean of the unlearned
    models, mean of the retrained), both in one unit. The models given first are not preferred: where a side has too
    many they are drawn with `seed`. At least 8 models a side are needed; of `original` as many as
    `equal_models`, or one, from which all unlearned models then started: leaving it alone N times is what
    doing nothing means there. Raises one `InputError` for all faults.
    """
    with Faults("these models cannot be compared") as faults:
        if mode not in MODES:
            faults.add(unknown_name("mode", mode, MODES))
        final_parts = [_ratio(name, pair, faults) for name, pair in _pairs(retain_accuracy, test_accuracy)]
        given = {"unlearned": unlearned, "retrained": retrained} | (
            {} if original is None else {"original": original}
        )
        try:
            sides = models_by_examples(given, keep_singles=True)
        except InputError as error:
            for problem in error.problems:
                faults.add(problem)
            sides = []
        if sides:
            _check_counts(sides, faults)
    named = dict(zip(given, sides, strict=True))
    both = {name: named[name] for name in ("unlearned", "retrained")}
    indistinct = imprecise(both, [np.asarray(given[name]).dtype for name in both])
    draws = numpy_draws(seed, "forgetting-comparison")
    u, r, *rest = (side[draws.permutation(len(side))] for side in sides)
    models = min(len(u), len(r))
    equal = models if len(r) >= 2 * models else len(r) // 2
    equal = min(equal, models)
    scorer = _Scorer(mode, seed)
    levels = _Levels(scorer, r, equal, draws)
    ceiling, floor, here = levels.ceiling(), levels.floor(), levels.against(u)
    do_nothing = (
        levels.against(np.repeat(rest[0], equal, axis=0) if len(rest[0]) == 1 else rest[0]) if rest else None
    )
    head = scorer.head(u[:models], r[:models], rounds)
    measurable = bool(floor.high < ceiling.low)
    span = ceiling.value - floor.value
    return Comparison(
        mode=mode,
        models=models,
        **head,
        equal_models=equal,
        score_at_equal_models=here,
        ceiling=ceiling,
        floor=floor,
        do_nothing=do_nothing,
        measurable=measurable,
        share_of_ceiling=(here.value - floor.value) / span if measurable else None,
        power=max(ceiling.low - floor.high, 0.0) / span if span > 0 else 0.0,
        final=_final(head["score"], *final_parts),
        verdict=_verdict(head["apart"], measurable, here, do_nothing, models),
        imprecise=indistinct,
        notes=tuple(oddities(named)),
    )


@dataclass(frozen=True)
class _Scorer:
    mode: Mode
    seed: int

    def points(self, u: Floats, r: Floats) -> Floats:
        """Points of each example `[examples]`."""
        if self.mode == "official":
            return official_score(u, r, where_it_stops="define").points
        return robust_score(u, r, seed=self.seed, deals=0).points

    def head(self, u: Floats, r: Floats, rounds: int) -> dict[str, Any]:
        """The fields of `Comparison` that come from all models."""
        both = ("score", "epsilon", "points")
        if self.mode == "robust":
            robust = robust_score(u, r, seed=self.seed, deals=rounds)
            names = (*both, "interval", "bootstrap", "apart", "tail", "tail_by_chance", "epsilon_low")
            return {"unresolved": (), **{name: getattr(robust, name) for name in names}}
        official = official_score(u, r, where_it_stops="define")
        bootstrap = bootstrap_interval(self.points, u, r, rounds=rounds, seed=self.seed)
        unresolved = tuple(np.flatnonzero(official.unresolved).tolist())
        apart = told_apart(u, r, seed=self.seed, rounds=rounds)
        own = {"interval": bootstrap, "bootstrap": bootstrap, "apart": apart, "unresolved": unresolved}
        only_robust = dict.fromkeys(("tail", "tail_by_chance", "epsilon_low"))
        return {**own, **only_robust, **{name: getattr(official, name) for name in both}}


@dataclass(frozen=True)
class _Levels:
    """Scores at the equal number of models, each over `SPLITS` random choices of models."""

    scorer: _Scorer
    retrained: Floats
    models: int
    draws: np.random.Generator

    def ceiling(self) -> ScoreRange:
        means = []
        for _ in range(SPLITS):
            order = self.draws.permutation(len(self.retrained))
            one, other = (
                self.retrained[order[: self.models]],
                self.retrained[order[self.models : 2 * self.models]],
            )
            means.append(self.scorer.points(one, other).mean())
        return _level(means)

    def floor(self) -> ScoreRange:
        """Retrained models against others of them that are moved beyond all of them: no example overlaps."""
        one, other = self.retrained[: self.models], self.retrained[self.models : 2 * self.models]
        beyond = 2 * (self.retrained.max(axis=0) - self.retrained.min(axis=0)) + 1
        return _level([self.scorer.points(one, other + beyond).mean()])

    def against(self, side: Floats) -> ScoreRange:
        means = []
        for _ in range(SPLITS):
            chosen = [
                models[self.draws.permutation(len(models))[: self.models]]
                for models in (side, self.retrained)
            ]
            means.append(self.scorer.points(*chosen).mean())
        return _level(means)


def _level(means: list[Any]) -> ScoreRange:
    value = low = high = float(np.mean(means))
    if len(means) > 1:
        spread = float(np.std(means, ddof=1)) * np.sqrt(1 + 1 / len(means))
        low, high = around(value, spread, len(means) - 1)
    return ScoreRange(value=value, low=low, high=high)


def _check_counts(sides: list[Floats], faults: Faults) -> None:
    u, r, *rest = sides
    for name, side in (("unlearned", u), ("retrained", r)):
        if len(side) < FEWEST_MODELS:
            faults.add(
                f"{name}: {counted(len(side), 'model')}, but a ceiling and an interval need at least {FEWEST_MODELS}"
            )
    equal = min(len(u), len(r) // 2)
    if rest and 1 < len(rest[0]) < equal:
        faults.add(f"original: {len(rest[0])} models; needs either the one original or at least {equal}")


def _pairs(
    retain: tuple[float, float] | None, test: tuple[float, float] | None
) -> tuple[tuple[str, tuple[float, float] | None], ...]:
    return (("retain accuracy", retain), ("test accuracy", test))


def _ratio(name: str, pair: tuple[float, float] | None, faults: Faults) -> float | None:
    if pair is None:
        return None
    unlearned, retrained = pair
    if not (0 <= unlearned <= 100 and 0 < retrained <= 100):
        faults.add(
            f"{name}: needs two accuracies from 0 to 1 or 0 to 100, the second above 0, got {unlearned} and {retrained}"
        )
        return None
    return unlearned / retrained


def _final(score: float, retain: float | None, test: float | None) -> FinalScore:
    value = clipped = score
    for ratio in (retain, test):
        if ratio is not None:
            value, clipped = value * ratio, clipped * min(ratio, 1.0)
    return FinalScore(value=value, clipped=clipped, retain_ratio=retain, test_ratio=test)


def _verdict(
    apart: ToldApart, measurable: bool, here: ScoreRange, do_nothing: ScoreRange | None, models: int
) -> str:
    found = f"(p = {apart.p:.2g}, {models} models a side)"
    if apart.told_apart:
        beaten = do_nothing is not None and here.value <= do_nothing.high
        return f"told apart from retraining {found}{', and no better than doing nothing' * beaten}"
    if not measurable:
        return (
            f"not measurable at this N: not told apart from retraining {found}, but retraining itself could score as low "
            "as total separation"
        )
    return f"not told apart from retraining {found}"
