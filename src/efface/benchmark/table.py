"""The rows of a benchmark: what a method's runs score against retrained models, with intervals over originals.

Every number of an experiment is a mean over both halves of the retrained models (N of 2N each), so that both
sides always have N models. A row's value is the mean over the experiments of the headline setup, its interval is
Student's t over them: over originals, which is what varies most (arXiv:2510.26714). One experiment has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from efface.benchmark.classifiers.runs import SETS, Outputs
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.benchmark.setups import Experiment
from efface.forgetting.arrays import Floats
from efface.forgetting.comparison import MODES, Comparison, Mode, compare
from efface.forgetting.distributions import klom, kolmogorov_smirnov
from efface.forgetting.likelihood_attacks import attack_quality, u_lira
from efface.forgetting.official import official_score
from efface.forgetting.robust import robust_score
from efface.metrics.intervals import student_interval
from efface.randomness import numpy_draws

ALIKE = 1e-3
"""Logit-scaled confidences that differ by no more are taken as equal: single precision on another device gives less."""
FEW_SHADOWS = 64
"""Below so many shadow models one spread serves all examples (Carlini et al. 2022, arXiv:2112.03570)."""

MEASURES: Mapping[str, str] = {
    "official": "F, official: up, 0 to 1",
    "robust": "F, robust: up, 0 to 1",
    "final": "official F x retain ratio x test ratio, as the competition",
    "final_clipped": "the same with ratios above 1 taken as 1",
    "ks": "Kolmogorov-Smirnov statistic, mean over forget examples: down",
    "ks_significant": "share of forget examples that differ at a false discovery rate of 5 %: down",
    "klom_forget": "KL of margins on forget examples, nats: down",
    "klom_retain": "the same on retain examples",
    "klom_test": "the same on test examples",
    "u_lira": "AUC of U-LiRA on forget examples: 0.5 is best",
    "retain_ratio": "accuracy on retain examples, unlearned / retrained",
    "test_ratio": "accuracy on test examples, unlearned / retrained",
    "forget_accuracy": "accuracy on forget examples: towards the retrained models'",
    "time_share": "seconds of unlearning / seconds of a retraining",
}


@dataclass(frozen=True)
class Estimate:
    """A mean over experiments with its interval (None from one experiment), and the value of each."""

    value: float
    low: float | None
    high: float | None
    each: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], confidence: float, least: float | None = 0.0) -> Estimate:
        """Student's t over the experiments; `least`: what no value can be below, if there is such a bound."""
        each = tuple(float(value) for value in values)
        interval = student_interval(values, confidence)
        if interval is None:
            return cls(float(np.mean(values)), None, None, each)
        value, low, high = interval
        return cls(value, low if least is None else max(low, least), high, each)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {"value": self.value, "low": self.low, "high": self.high, "each": list(self.each)}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    settings: `published`, `tuned`, or `reference` (`original`: doing nothing; `retrained`: the other half of the
    retrained models). measures: by the names of `MEASURES`, empty where no experiment is whole. share_of_ceiling:
    (official F - floor) / (ceiling - floor), None where those overlap. cut: runs stopped at the limit of time;
    failed: runs that cannot be had, `reason` why, and `failure_file` where that is kept. needs: what it reads.
    deterministic: by its trait; alike: measured, its runs from one original differ by no more than rounding.
    like_for_like: whether its models are of the retrained models' kind.
    """

    label: str
    settings: str
    section: dict[str, Any]
    measures: Mapping[str, Estimate] = field(default_factory=dict)
    share_of_ceiling: float | None = None
    experiments: int = 0
    runs: int = 0
    cut: int = 0
    failed: int = 0
    reason: str | None = None
    failure_file: str | None = None
    needs: tuple[str, ...] = ()
    deterministic: bool = False
    alike: bool = False
    like_for_like: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["measures"] = {name: estimate.as_dict() for name, estimate in self.measures.items()}
        return {**plain, "needs": list(self.needs)}


@dataclass(frozen=True)
class Sides:
    """Arrays `[models, examples]` of confidences and right answers by set, and the mean seconds of a run."""

    confidence: Mapping[str, Floats]
    correct: Mapping[str, Floats]
    seconds: float

    @classmethod
    def read(cls, pool: Pool[Outputs], runs: Sequence[Run]) -> Sides:
        """Of these runs, in their order."""
        return cls(
            {name: pool.stack(runs, "confidence", name) for name in SETS},
            {name: pool.stack(runs, "correct", name) for name in SETS},
            pool.seconds(runs),
        )

    @property
    def alike(self) -> bool:
        """Whether all models give the same confidences, up to rounding."""
        return all(float(np.ptp(values, axis=0).max()) <= ALIKE for values in self.confidence.values())

    def half(self, second: bool) -> Sides:
        """The first half of the models, or the second."""
        middle = len(self.confidence["forget"]) // 2
        part = slice(middle, 2 * middle) if second else slice(0, middle)
        return Sides(
            {name: values[part] for name, values in self.confidence.items()},
            {name: values[part] for name, values in self.correct.items()},
            self.seconds,
        )


def levels(retrained: Sides, seed: int) -> dict[Mode, Comparison]:
    """Ceiling, floor and power of both scores at N models a side, from 2N retrained ones."""
    one, all_ = retrained.half(True).confidence["forget"], retrained.confidence["forget"]
    return {mode: compare(one, all_, mode=mode, seed=seed) for mode in MODES}


def measures_of(unlearned: Sides, retrained: Sides, seed: int) -> dict[str, float]:
    """All numbers of one experiment, by the names of `MEASURES`; means over both halves of the retrained models."""
    halves = [retrained.half(second) for second in (False, True)]
    found = [measures_against(unlearned, half, seed) for half in halves]
    return _whole({name: float(np.mean([one[name] for one in found])) for name in found[0]})


def measures_against(unlearned: Sides, retrained: Sides, seed: int) -> dict[str, float]:
    """All numbers against one half of the retrained models."""
    u, r = unlearned.confidence["forget"], retrained.confidence["forget"]
    test = kolmogorov_smirnov(u, r)
    ratio = {name: _ratio(unlearned.correct[name], retrained.correct[name]) for name in ("retain", "test")}
    return _whole(
        {
            "official": official_score(u, r).score,
            "robust": robust_score(u, r, seed=seed, deals=0).score,
            "ks": float(test.statistic.mean()),
            "ks_significant": test.rejected,
            **{
                f"klom_{name}": float(klom(unlearned.confidence[name], retrained.confidence[name]).mean())
                for name in SETS
            },
            "u_lira": u_lira_auc(u, r, seed),
            "retain_ratio": ratio["retain"],
            "test_ratio": ratio["test"],
            "forget_accuracy": float(unlearned.correct["forget"].mean()),
            "time_share": unlearned.seconds / retrained.seconds if retrained.seconds else 0.0,
        }
    )


def u_lira_auc(unlearned: Floats, retrained: Floats, seed: int) -> float:
    """AUC of U-LiRA with half of the models of each side as shadows and the others attacked, both ways round.

    `[models, examples]` a side. Members are (model, example) pairs of unlearned models. Raises `InputError`.
    """
    draws = numpy_draws(seed, "u-lira-halves")
    u, r = (side[draws.permutation(len(side))] for side in (unlearned, retrained))
    middle = len(u) // 2
    shared = middle < FEW_SHADOWS
    areas = []
    for first, second in ((slice(0, middle), slice(middle, None)), (slice(middle, None), slice(0, middle))):
        members, others = (u_lira(side[second], u[first], r[first], shared_spread=shared) for side in (u, r))
        areas.append(attack_quality(members.ravel(), others.ravel()).auc)
    return float(np.mean(areas))


def scores_of(pool: Pool[Outputs], chosen: Sequence[Experiment], seed: int) -> dict[Mode, list[float]]:
    """Both F of each experiment, all of whose runs are there; none of those with gaps."""
    found: dict[Mode, list[float]] = {mode: [] for mode in MODES}
    for one in chosen:
        if all(pool.has(run) for run in one.runs):
            u, r = (pool.stack(side, "confidence", "forget") for side in (one.unlearned, one.retrained))
            halves = r[: len(u)], r[len(u) : 2 * len(u)]
            scores = {
                "official": [official_score(u, half).score for half in halves],
                "robust": [robust_score(u, half, seed=seed, deals=0).score for half in halves],
            }
            for mode in MODES:
                found[mode].append(float(np.mean(scores[mode])))
    return found


@dataclass(frozen=True)
class Table:
    """Makes the rows of one benchmark: all are read against the same retrained models."""

    pool: Pool[Outputs]
    retrained: Sides
    levels: Mapping[Mode, Comparison]
    confidence: float
    seed: int

    def row(self, row: Row, chosen: Sequence[Experiment], errors: Mapping[Run, str]) -> Row:
        """`row` with what its experiments in the pool give; those with a failed run are left out."""
        runs = list(dict.fromkeys(run for one in chosen for run in one.unlearned))
        gone = [run for run in runs if not self.pool.has(run)]
        whole = [one for one in chosen if not set(one.unlearned) & set(gone)]
        sides = [Sides.read(self.pool, one.unlearned) for one in whole]
        found = [measures_of(one, self.retrained, self.seed) for one in sides]
        facts = {
            "runs": len(runs),
            "cut": sum(self.pool.spent(run).cut for run in runs if run not in gone),
            "failed": len(gone),
            "reason": (errors.get(gone[0]) or "the run is not there") if gone else None,
            "failure_file": self.failure_file(gone[:1]),
            "alike": bool(sides) and all(one.alike for one in sides),
        }
        return self._made(row, found, **facts)

    def failure_file(self, runs: Sequence[Run]) -> str | None:
        """Where the first lasting failure of these runs is kept, from the folder of the benchmark."""
        kept = [file for run in runs if (file := self.pool.failure_file(run))]
        return f"{self.pool.folder.name}/{kept[0]}" if kept else None

    def doing_nothing(self, chosen: Sequence[Experiment]) -> Row:
        """The original of each experiment, as often as there are unlearned models."""
        found = []
        for one in chosen:
            starts = one.original * (len(one.unlearned) // len(one.original))
            sides = Sides.read(self.pool, starts)
            found.append(measures_of(Sides(sides.confidence, sides.correct, 0.0), self.retrained, self.seed))
        return self._made(Row("original", "reference", {}, deterministic=True), found)

    def retraining(self) -> Row:
        """The two halves of the retrained models, each read against the other."""
        halves = [self.retrained.half(second) for second in (False, True)]
        found = [measures_against(a, b, self.seed) for a, b in (halves, halves[::-1])]
        both = _whole({name: float(np.mean([one[name] for one in found])) for name in found[0]})
        return self._made(Row("retrained", "reference", {}), [both])

    def _made(self, row: Row, found: Sequence[Mapping[str, float]], **facts: Any) -> Row:
        measures = {
            name: Estimate.of([one[name] for one in found], self.confidence) for name in MEASURES if found
        }
        level = self.levels["official"]
        share = None
        if found and level.measurable:
            span = level.ceiling.value - level.floor.value
            share = (measures["official"].value - level.floor.value) / span
        plain = {one.name: getattr(row, one.name) for one in fields(row)}
        made = {"measures": measures, "share_of_ceiling": share, "experiments": len(found)}
        return Row(**{**plain, **made, **facts})


def by_score(rows: Sequence[Row]) -> list[Row]:
    """The highest official F first, then as given; rows without numbers last."""

    def order(row: Row) -> float:
        return -row.measures["official"].value if "official" in row.measures else math.inf

    return sorted(rows, key=order)


def _whole(found: dict[str, float]) -> dict[str, float]:
    """The final score made of its parts."""
    retain, test = found["retain_ratio"], found["test_ratio"]
    return {
        **found,
        "final": found["official"] * retain * test,
        "final_clipped": found["official"] * min(retain, 1.0) * min(test, 1.0),
    }


def _ratio(unlearned: Floats, retrained: Floats) -> float:
    return float(unlearned.mean()) / max(float(retrained.mean()), math.ulp(1.0))
