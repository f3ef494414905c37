"""What the runs of classifiers score against retrained models, with intervals over originals.

Every number of an experiment is a mean over both halves of the retrained models (N of 2N each), so that both sides
always have N models. A row's value is the mean over the experiments of the headline setup, its interval is Student's t
over them: over originals, which is what varies most (arXiv:2510.26714). One experiment has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from efface.benchmark.classifiers.runs import SETS, ClassifierOutputs
from efface.benchmark.classifiers.task import ClassifierTask
from efface.benchmark.config import BenchConfig
from efface.benchmark.pool import Pool
from efface.benchmark.reading import FigureValues, TaskReader, levels_of, relative_measures
from efface.benchmark.results import BenchRow, Measure, ScoreLevels
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import Experiment
from efface.benchmark.told_apart import apart_measures
from efface.errors import InputError
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.evaluation.verdict import Verdict, verdict_on
from efface.forgetting.apart import told_apart
from efface.forgetting.arrays import Floats
from efface.forgetting.comparison import MODES, Mode, compare
from efface.forgetting.confidence import Confidence
from efface.forgetting.distributions import klom, kolmogorov_smirnov
from efface.forgetting.likelihood_attacks import attack_quality, u_lira
from efface.forgetting.official import official_score
from efface.forgetting.outputs import Accuracy
from efface.forgetting.robust import robust_score
from efface.images.datasets import open_dataset
from efface.randomness import numpy_draws

ALIKE = 1e-3
"""Logit-scaled confidences that differ by no more are taken as equal: single precision on another device gives less."""
FEW_SHADOWS = 64
"""Below so many shadow models one spread serves all examples (Carlini et al. 2022, arXiv:2112.03570)."""
VERDICT_SETS: Mapping[SetName, str] = {"forget": "forget", "retain": "retain", "neutral": "test"}
"""The sets of a verdict, and which of a task's they are."""
THE_TABLE = "Forgetting, and what it cost"


def _measure(
    name: str,
    heading: str,
    about: str,
    goal: str,
    table: str | None = THE_TABLE,
    *,
    brief: str = "",
    of_time: bool = False,
) -> Measure:
    return Measure(
        name=name,
        heading=heading,
        about=about,
        goal=goal,
        table=table,
        brief=brief,
        least=0.0,
        percent=of_time,
        of_methods=of_time,
    )


MEASURES = (
    _measure("official", "F official", "the forgetting score of the competition, 0 to 1", "up", brief="F official"),
    _measure("robust", "F robust", "the same with thresholds chosen on half of the models", "up", brief="F robust"),
    *apart_measures(THE_TABLE),
    _measure("final", "final score", "official F x retain ratio x test ratio, as the competition", "up"),
    _measure("final_clipped", "final score, clipped", "the same with ratios above 1 taken as 1", "up", None),
    _measure("ks", "KS", "Kolmogorov-Smirnov statistic, mean over forget examples", "down"),
    _measure(
        "ks_significant", "KS, significant",
        "share of forget examples that differ at a false discovery rate of 5 %", "down", None,
    ),
    _measure("klom_forget", "KLoM forget", "KL of margins on forget examples, nats; none where it is not defined", "down"),
    _measure("klom_retain", "KLoM retain", "the same on retain examples", "down", None),
    _measure("klom_test", "KLoM test", "the same on test examples", "down", None),
    _measure("u_lira", "U-LiRA AUC", "AUC of U-LiRA on forget examples", "0.5", brief="U-LiRA"),
    *relative_measures(THE_TABLE),
    _measure("retain_ratio", "retain ratio", "accuracy on retain examples, unlearned / retrained", "1", brief="retain"),
    _measure("test_ratio", "test ratio", "accuracy on test examples, unlearned / retrained", "1", brief="test"),
    _measure("forget_accuracy", "forget accuracy", "accuracy on forget examples", "as retrained", None),
    _measure(
        "time_share", "time", "seconds of unlearning / seconds of a retraining", "down",
        brief="time", of_time=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PoolAnswers:
    """Arrays `[models, examples]` of confidences and right answers by set, and the mean seconds of a run."""

    confidence: Mapping[str, Floats]
    correct: Mapping[str, Floats]
    seconds: float

    @property
    def alike(self) -> bool:
        """Whether all models give the same confidences, up to rounding."""
        return all(float(np.ptp(values, axis=0).max()) <= ALIKE for values in self.confidence.values())

    def half(self, second: bool) -> PoolAnswers:
        """The first half of the models, or the second."""
        middle = len(self.confidence["forget"]) // 2
        part = slice(middle, 2 * middle) if second else slice(0, middle)
        return PoolAnswers(
            {name: values[part] for name, values in self.confidence.items()},
            {name: values[part] for name, values in self.correct.items()},
            self.seconds,
        )


class ClassifierReader(TaskReader[ClassifierOutputs]):
    """Reads the pool of a task of classifiers; all rows are read against the same retrained models."""

    measures = MEASURES

    def __init__(self, config: BenchConfig, pool: Pool[ClassifierOutputs]) -> None:
        super().__init__(config, pool)
        self.task = cast("ClassifierTask", pool.task)
        data = open_dataset(self.task.images)
        self.images = {name: len(getattr(data, name)) for name in ("forget", "retain", "validation", "test")}
        self.data_sha256, self.notes = data.digest(), data.notes

    def facts(self) -> dict[str, str]:
        images, recipe = self.task.images, self.task.recipe
        counts = self.images
        return {
            "Images": f"{images.data}, {images.side} px; forgotten: {images.forget}",
            "Trained on": f"{counts['forget'] + counts['retain']} images, {counts['forget']} of them to be forgotten",
            "Measured": f"{counts['forget']} forget, {counts['retain']} retain and {counts['test']} test images",
            "Models": f"{self.task.network.network}; {recipe.epochs:g} epochs of training",
        }

    def values(self, run: PoolRun) -> Floats:
        return self.pool.outputs(run).confidence["forget"].astype(np.float64)

    def answers(self, runs: Sequence[PoolRun]) -> PoolAnswers:
        """Of these runs, in their order; originals took no unlearning."""
        outputs = [self.pool.outputs(run) for run in runs]
        return PoolAnswers(
            {name: np.stack([one.confidence[name] for one in outputs]).astype(np.float64) for name in SETS},
            {name: np.stack([one.correct[name] for one in outputs]).astype(np.float64) for name in SETS},
            0.0 if runs[0].kind == "original" else self.pool.seconds(runs),
        )

    @cached_property
    def retrained(self) -> PoolAnswers:
        """Those of the headline setup."""
        return self.answers(
            self.config.experiments_of(self.config.headline, {"name": "retrain"})[0].retrained
        )

    def figures(self, experiments: Sequence[Experiment], corruption: str | None) -> list[FigureValues]:
        return [
            measures_of(self.answers(one.unlearned), self.retrained, self.config.seed) for one in experiments
        ]

    def retraining(self, experiment: Experiment, corruption: str | None) -> list[FigureValues]:
        one, other = (self.retrained.half(second) for second in (False, True))
        found = _mean([measures_against(a, b, self.config.seed) for a, b in ((one, other), (other, one))])
        return [{**found, "p": _p_value(one, other, self.config.seed)}]

    def levels(self, experiment: Experiment) -> dict[Mode, ScoreLevels]:
        half, whole = self.retrained.half(True).confidence["forget"], self.retrained.confidence["forget"]
        return {mode: levels_of(compare(half, whole, mode=mode, seed=self.config.seed)) for mode in MODES}

    def verdict(self, experiments: Sequence[Experiment], corruption: str | None) -> Verdict | None:
        runs: dict[ModelName, list[PoolRun]] = {
            "original": [run for one in experiments for run in one.original],
            "unlearned": [run for one in experiments for run in one.unlearned],
            "retrained": [run for one in experiments for run in one.retrained],
        }
        per_image: dict[tuple[ModelName, SetName], dict[str, Floats]] = {}
        for model, several in runs.items():
            answers = self.answers(list(dict.fromkeys(several)))
            for name, of_set in VERDICT_SETS.items():
                per_image[model, name] = {
                    Confidence.name: answers.confidence[of_set].mean(axis=0),
                    Accuracy.name: answers.correct[of_set].mean(axis=0),
                }
        ids = {
            name: [str(place) for place in range(self.images[of_set])]
            for name, of_set in VERDICT_SETS.items()
        }
        return verdict_on(per_image, ids, "classifier", ClassifierEvaluationSettings(), {})

    def alike(self, experiment: Experiment) -> bool:
        return self.answers(experiment.unlearned).alike

    def kept(self, runs: Sequence[PoolRun], references: Sequence[PoolRun]) -> dict[str, float]:
        sides = [self.answers(side).correct for side in (runs, references)]
        return {f"{name}_ratio": _ratio(sides[0][name], sides[1][name]) for name in ("retain", "test")}

    def order(self, row: BenchRow) -> float:
        return -row.measures["official"].value


def measures_of(unlearned: PoolAnswers, retrained: PoolAnswers, seed: int) -> FigureValues:
    """All numbers of one experiment, by the names of `MEASURES`; means over both halves of the retrained models."""
    found = _mean([measures_against(unlearned, retrained.half(second), seed) for second in (False, True)])
    return {**found, "p": _p_value(unlearned, retrained, seed)}


def measures_against(unlearned: PoolAnswers, retrained: PoolAnswers, seed: int) -> FigureValues:
    """All numbers against one half of the retrained models."""
    u, r = unlearned.confidence["forget"], retrained.confidence["forget"]
    test, robust = kolmogorov_smirnov(u, r), robust_score(u, r, seed=seed, deals=0)
    ratio = {name: _ratio(unlearned.correct[name], retrained.correct[name]) for name in ("retain", "test")}
    return _with_final(
        {
            "official": official_score(u, r, where_it_stops="define").score,
            "robust": robust.score,
            "shift": told_apart(u, r, seed=seed, deals=0, rounds=0).shift,
            "epsilon_90": robust.tail.epsilon_90,
            "shown": robust.tail.shown,
            "ks": float(test.statistic.mean()),
            "ks_significant": test.rejected,
            **_klom(unlearned, retrained),
            "u_lira": u_lira_auc(u, r, seed),
            "retain_ratio": ratio["retain"],
            "test_ratio": ratio["test"],
            "forget_accuracy": float(unlearned.correct["forget"].mean()),
            "time_share": unlearned.seconds / retrained.seconds if retrained.seconds else 0.0,
        }
    )


def _p_value(unlearned: PoolAnswers, retrained: PoolAnswers, seed: int) -> float:
    """Of the test whether these are of one kind, with as many models of either side as there are."""
    return told_apart(unlearned.confidence["forget"], retrained.confidence["forget"], seed=seed, rounds=0).p


def _klom(unlearned: PoolAnswers, retrained: PoolAnswers) -> FigureValues:
    """KLoM of each set of which it is defined for every example; where all models saturate it is not."""
    figures: FigureValues = {}
    for name in SETS:
        with suppress(InputError):
            each = klom(unlearned.confidence[name], retrained.confidence[name])
            figures[f"klom_{name}"] = float(each.mean())
    return figures


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


def _mean(each: Sequence[FigureValues]) -> FigureValues:
    names = [name for name in each[0] if all(name in one for one in each)]
    return _with_final({name: float(np.mean([one[name] for one in each])) for name in names})


def _with_final(figures: FigureValues) -> FigureValues:
    """The final score made of its parts."""
    retain, test = figures["retain_ratio"], figures["test_ratio"]
    return {
        **figures,
        "final": figures["official"] * retain * test,
        "final_clipped": figures["official"] * min(retain, 1.0) * min(test, 1.0),
    }


def _ratio(unlearned: Floats, retrained: Floats) -> float:
    return float(unlearned.mean()) / max(float(retrained.mean()), math.ulp(1.0))
