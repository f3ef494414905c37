"""What is read of the runs of one task. Each kind of model answers here what the tables ask of both alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic

import numpy as np

from efface.benchmark.config import BenchConfig
from efface.benchmark.kind import Kept
from efface.benchmark.pool import Pool
from efface.benchmark.results import (
    Agreement,
    BenchRow,
    EmbeddingMap,
    Estimate,
    Measure,
    Pareto,
    PictureSheet,
    RelearningCurve,
    ScoreLevels,
)
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import Experiment
from efface.evaluation.verdict import Verdict
from efface.forgetting.arrays import Floats
from efface.forgetting.comparison import Comparison, Mode
from efface.forgetting.relative import FEWEST, relative_mmd
from efface.forgetting.relative_divergence import relative_divergence
from efface.metrics.intervals import student_interval

FigureValues = dict[str, float]
"""FigureValues by name of measure: of one experiment of classifiers, of one seed of generators."""


class TaskReader(ABC, Generic[Kept]):
    """Reads the pool of one task; raises `InputError` for runs that are not there."""

    corruptions: Sequence[str | None] = (None,)
    """What was hidden in measuring: a table for each, scores in the first alone. Classifiers have one table."""
    measures: Sequence[Measure]
    images: dict[str, int]
    """How many images are measured, by set."""
    data_sha256: str
    notes: Sequence[str]

    def __init__(self, config: BenchConfig, pool: Pool[Kept]) -> None:
        self.config, self.pool = config, pool

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Images, model and training, in words, by heading."""

    @abstractmethod
    def values(self, run: PoolRun) -> Floats:
        """What the forgetting score reads of each forget image, `[images]`."""

    @abstractmethod
    def figures(self, experiments: Sequence[Experiment], corruption: str | None) -> list[FigureValues]:
        """What a row's means are taken over."""

    @abstractmethod
    def retraining(self, experiment: Experiment, corruption: str | None) -> list[FigureValues]:
        """The same of retrained models beside others of them."""

    @abstractmethod
    def levels(self, experiment: Experiment) -> dict[Mode, ScoreLevels]:
        """What scores are read between; empty with too few models."""

    @abstractmethod
    def kept(self, runs: Sequence[PoolRun], references: Sequence[PoolRun]) -> dict[str, float]:
        """How much of what the references do on other images these runs do as well: shares, 1 is all."""

    @abstractmethod
    def order(self, row: BenchRow) -> float:
        """Where a row of the first table stands among the methods: the least is first."""

    def stacked(self, runs: Sequence[PoolRun]) -> Floats:
        """`values` of these runs, `[models, images]`."""
        return np.stack([self.values(run) for run in runs])

    def alike(self, experiment: Experiment) -> bool:
        """Whether all unlearned models of an experiment answer alike, up to rounding."""
        return False

    def scores(self, experiment: Experiment) -> dict[str, Estimate]:
        """Scores of a whole experiment with intervals of their own, where `figures` has none."""
        return {}

    def scores_of_retraining(self, experiment: Experiment) -> dict[str, Estimate]:
        """The same of one half of the retrained models against the other, where `retraining` has none."""
        return {}

    def relative(self, experiment: Experiment) -> dict[str, Estimate]:
        """What the relative tests say of an experiment, by the names of `relative_measures`.

        Rows are models, each a vector of its forget images. Empty where models share an original or are too few; without
        the second test where no other half of retrained models is left as its yardstick.
        """
        unlearned, original, count = experiment.unlearned, experiment.original, len(experiment.unlearned)
        retrained, yardstick = experiment.retrained[:count], experiment.retrained[count : 2 * count]
        sides = (unlearned, original, retrained)
        if count < FEWEST or any(len(set(side)) < count for side in sides):
            return {}
        u, o, r = map(self.stacked, sides)
        closer = relative_mmd(u, o, r, paired=True, confidence=self.config.confidence)
        found = {
            "closer": Estimate(value=closer.difference, low=closer.low, high=closer.high, each=[]),
            "closer_p": Estimate(value=closer.p_value, low=None, high=None, each=[]),
        }
        if len(set(yardstick)) == count and yardstick != unlearned:
            test = relative_divergence(u, r, self.stacked(yardstick), seed=self.config.seed)
            found["beyond_p"] = Estimate(value=test.p_value, low=None, high=None, each=[])
        return found

    def curves(self, runs: Sequence[PoolRun]) -> list[RelearningCurve]:
        """How the forget error falls when these models are trained again, where that was tried."""
        return []

    def fills(self, corruption: str | None) -> dict[str, float]:
        """The error of filling a hole without a model, by kind of fill; empty where there is nothing to fill."""
        return {}

    @abstractmethod
    def verdict(self, experiments: Sequence[Experiment], corruption: str | None) -> Verdict | None:
        """Whether it is gone, from the means over runs of each image."""

    def memory(self, original: BenchRow) -> bool | None:
        """Whether the originals were shown to remember the forget images; None where there is no interval."""
        verdict = original.verdict
        return None if verdict is None or verdict.gap is None else verdict.left is not None

    def stronger(self, original: BenchRow, fills: dict[str, float]) -> bool | None:
        """Whether the originals restore unseen images clearly better than the fills; None where that is not known."""
        return None

    def pareto(self, rows: Sequence[BenchRow]) -> Pareto | None:
        """The rows of a table by two costs, where they have any."""
        return None

    def maps(self, corruption: str | None, rows: Sequence[BenchRow]) -> list[EmbeddingMap]:
        """Maps of the features of what the first methods restore."""
        return []

    def sheets(self, corruption: str | None, rows: Sequence[BenchRow], out: Path) -> list[PictureSheet]:
        """Restored pictures, written below `out`: they show images that were to be forgotten."""
        return []

    def agreements(self, methods: Sequence[BenchRow]) -> list[Agreement]:
        """How far two of its measures put the methods of the first table in one order."""
        return []


def relative_measures(table: str) -> tuple[Measure, ...]:
    """What the relative tests give, as columns of a table."""

    def measure(name: str, heading: str, goal: str, about: str) -> Measure:
        return Measure(name=name, heading=heading, goal=goal, about=about, table=table, of_set="forget")

    return (
        measure(
            "closer", "closer to retrained", "above 0",
            "relative MMD of the first experiment's models: distance from originals less that from retrained ones",
        ),
        measure(
            "closer_p", "closer to retrained, p", "small",
            "p value of that: small says that they are closer to retrained models; one just past half way is",
        ),
        measure(
            "beyond_p", "farther than a retraining, p", "not small",
            "relative divergence test: small says that they are farther from retrained models than others of these",
        ),
    )  # fmt: skip


def estimate(values: Sequence[float], confidence: float, least: float | None = None) -> Estimate:
    """The mean with Student's interval; `least`: what no value can be below, if there is such a bound."""
    mean, each = float(np.mean(values)), [float(value) for value in values]
    interval = student_interval(values, confidence)
    if interval is None:
        return Estimate(value=mean, low=None, high=None, each=each)
    low = interval.low if least is None else max(interval.low, least)
    return Estimate(value=mean, low=low, high=interval.high, each=each)


def levels_of(comparison: Comparison) -> ScoreLevels:
    """What a comparison is read between."""
    return ScoreLevels(
        models=comparison.equal_models,
        ceiling=comparison.ceiling,
        floor=comparison.floor,
        doing_nothing=comparison.do_nothing,
        power=comparison.power,
        measurable=comparison.measurable,
    )
