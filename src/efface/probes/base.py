"""What a probe is: an attack that gives scores, a criterion that makes a figure of them, and a reference beside it.

A probe asks one question of an unlearned model. Its figures say nothing alone: they stand beside the retrained model's,
or, where there is none, beside the original's. Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from efface.errors import InputError
from efface.evaluation.results import ModelName, SetName
from efface.metrics.base import ModelKind
from efface.metrics.intervals import FEWEST_GROUPS, percentile_ends
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.subject import AnySubject, Share, Values
from efface.randomness import numpy_draws
from efface.settings import Settings

Scores = Mapping[str, Values]
"""An attack's scores on one model, by group: arrays `[images, ...]` whose images are the same for every model."""
Criterion = Callable[[Scores], float]
"""A figure made of scores; nan where it cannot be had of these."""
FiguresByKind = Mapping[ModelKind, tuple[str, ...]]
Cost = Literal["nothing", "passes", "training"]
Side = Literal["above", "below"]

TOO_FEW = f"interval not available: fewer than {FEWEST_GROUPS} images"


class Probe(Settings, ABC):
    """One question to an unlearned model: its settings, and what it needs."""

    name: ClassVar[str]
    question: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    figures: ClassVar[FiguresByKind]
    """Names of the figures that it gives, by the kinds of models that it can question: what `--require` can name."""
    memory: ClassVar[Mapping[str, Side]] = {}
    """Of those that tell of memory: on which side of the retrained model's figure more is remembered."""
    goals: ClassVar[Mapping[str, Goal]] = {}
    """Of those that are wanted on one side: which (`Finding.goal`); a requirement cannot be a bound from the other."""
    held_back: ClassVar[Mapping[str, str]] = {}
    """Of a figure: the p value, another figure, with which a requirement on it is not met where that is below 0.05."""
    needs: ClassVar[tuple[SetName, ...]] = ("forget",)
    """Sets without which it cannot be asked."""
    needs_retrained: ClassVar[bool] = False
    """Whether its figures mean nothing without a retrained model."""
    cost: ClassVar[Cost] = "nothing"
    """Beyond the evaluation: nothing, more passes over the images, or training."""

    @abstractmethod
    def run(self, subject: Any) -> Findings:
        """Ask the question of every model; models keep their weights. subject: of one of the kinds in `figures`."""

    def ask(self, subject: AnySubject) -> Findings:
        """`run`, or a note in its place where a set or the reference is missing.

        Raises `InputError` for a kind of models that it cannot question, and where it does not fit these models.
        """
        if subject.kind not in self.figures:
            raise InputError(f"{self.name} questions {' and '.join(self.figures)}s, not {subject.kind}s")
        missing = [name for name in self.needs if not subject.has(name)]
        if missing:
            return self.unanswered(subject, f"there are no {' and no '.join(missing)} images")
        if self.needs_retrained and "retrained" not in subject.models:
            return self.unanswered(subject, "there is no retrained model")
        return self.run(subject)

    def unanswered(self, subject: AnySubject, why: str) -> Findings:
        """A finding without a value for each figure, which says why."""
        return self.unmeasured(subject, self.figures.get(subject.kind, ()), why)

    def unmeasured(self, subject: AnySubject, figures: Iterable[str], why: str) -> Findings:
        """The same for some figures, so that a requirement on one of them finds the reason."""
        note = f"not measurable: {why}"
        return Findings(
            tuple(Finding(self.name, figure, subject.questioned, None, note=note) for figure in figures)
        )

    def unmeasured_by_all(self, subject: AnySubject, figure: str, why: str) -> Findings:
        """The same for a figure by every measure of the subject."""
        return self.unmeasured(subject, [measure.named(figure) for measure in subject.measures], why)


def judged(
    probe: str,
    figure: str,
    scores: Mapping[ModelName, Scores],
    criterion: Criterion,
    subject: AnySubject,
    *,
    unit: str = "1",
    goal: Goal = "zero",
    note: str | None = None,
    share: Share | None = None,
) -> Findings:
    """The figure of each model beside the reference's, with percentile bootstrap intervals over images.

    Images of a group are drawn anew together for all models, so differences are paired. Percentiles are read at the
    expanded levels of the smallest group (see `metrics.intervals`): plain ones are too narrow for few images. No
    intervals where a group has fewer than `FEWEST_GROUPS` images.

    share: what the figure is, where it counts images. Where all of them are counted alike, draws cannot differ, and the
    interval reaches as far as the exact one (Clopper and Pearson 1934): none of 20 may still be 17 % of all.
    """
    groups = {name: len(values) for name, values in next(iter(scores.values())).items()}
    reference = subject.reference if subject.reference in scores else None
    values = {model: criterion(given) for model, given in scores.items()}
    drawn: dict[ModelName, Values] = {}
    if min(groups.values()) >= FEWEST_GROUPS:
        draws = numpy_draws(subject.settings.seed, "probe bootstrap", probe, figure)
        drawn = {model: np.empty(subject.settings.resamples) for model in scores}
        for number in range(subject.settings.resamples):
            places = {name: draws.integers(0, count, count) for name, count in groups.items()}
            for model, given in scores.items():
                drawn[model][number] = criterion({name: given[name][places[name]] for name in groups})
    confidence, fewest = subject.settings.confidence, min(groups.values())
    reach = 1 - ((1 - confidence) / 2) ** (1 / (share.images or fewest)) if drawn and share else 0.0

    def ends(draws: Values | None, middle: float, furthest: float) -> tuple[float | None, float | None]:
        if draws is None or np.isnan(draws).all():
            return None, None
        if share and not np.ptp(draws):
            return max(middle - reach, -furthest), min(middle + reach, furthest)
        return percentile_ends(draws, confidence, units=fewest)

    findings = []
    for model, value in values.items():
        other = reference if reference != model else None
        low, high = ends(drawn.get(model), value, 1.0)
        if low is not None and share:
            low, high = (0.0, 0.0) if model == share.known else (max(low, share.low), high)
        apart = drawn[model] - drawn[other] if other and drawn else None
        difference = value - values[other] if other else 0.0
        difference_low, difference_high = ends(apart, difference, 1.0 - share.low if share else 0.0)
        measured = not np.isnan(value)
        findings.append(
            Finding(
                probe,
                figure,
                model,
                value if measured else None,
                low if measured else None,
                high if measured else None,
                other,
                values[other] if other else None,
                difference if other and measured else None,
                difference_low if measured else None,
                difference_high if measured else None,
                unit,
                goal,
                sum(groups.values()),
                note if drawn else "; ".join(filter(None, (note, TOO_FEW))),
            )
        )
    return Findings(tuple(findings))


FLOOR = 1e-12
"""Below any error of 8-bit pictures: an error of 0 has no logarithm."""


def auc(positives: str, negatives: str) -> Criterion:
    """Area under the curve of telling `positives` (higher scores) from `negatives`: 0.5 is chance, ties count half."""

    def criterion(scores: Scores) -> float:
        return area(scores[positives], scores[negatives])

    return criterion


def ratio_of_means(above: str, below: str) -> Criterion:
    """Mean of one group over the mean of another."""

    def criterion(scores: Scores) -> float:
        mean = float(scores[below].mean())
        return float(scores[above].mean()) / mean if mean else float("nan")

    return criterion


def mean(group: str) -> Criterion:
    """Mean of a group; of true and false: a share."""

    def criterion(scores: Scores) -> float:
        return float(scores[group].mean())

    return criterion


def logs(errors: Values) -> Values:
    """Natural logarithms of errors from 0 up."""
    values: Values = np.log(np.maximum(errors, FLOOR))
    return values


def area(positives: Values, negatives: Values) -> float:
    """Share of pairs in which the positive has the higher score (Mann and Whitney 1947); nan for an empty side."""
    # imported here, for it takes as long as all else that a command line begins with
    from scipy.stats import rankdata

    if not len(positives) or not len(negatives):
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)]
    return float((ranks.mean() - (len(positives) + 1) / 2) / len(negatives))
