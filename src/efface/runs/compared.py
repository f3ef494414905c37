"""One finished run among others: its place, its settings, and how its models stand to each other by one measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from efface.evaluation.results import find
from efface.metrics.intervals import FEWEST_GROUPS, bootstrap_difference, bootstrap_ratio
from efface.probes.findings import Finding
from efface.runs.record import GeneratorTraining
from efface.runs.results import ByImage, FinishedRun
from efface.runs.words import LeadMetric
from efface.wording import printable, setting


class Change(NamedTuple):
    """How one thing stands to another, with the ends of its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs: its number from 1, what it is called, what it left, and its single images' figures."""

    place: int
    name: str
    run: FinishedRun
    compared_by: LeadMetric | None
    by_image: ByImage

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"run {self.place} ({printable(self.name)})"

    @property
    def measure(self) -> LeadMetric:
        """What a run that was found to be comparable is compared by."""
        assert self.compared_by is not None, f"{self.label} measured no unlearned model on forget images"
        return self.compared_by

    @cached_property
    def settings(self) -> dict[str, str]:
        """Settings of method and training, flat, in words; what was hidden in training is written out, as on its page."""
        method, training = self.run.record.method, self.run.record.training
        of_method = dict(_flat(method.settings)) if method else {}
        if training is None:
            return of_method
        if isinstance(training, GeneratorTraining):
            used = {**training.settings.as_dict(), "corruption": training.corruption}
        else:
            used = {"recipe": training.recipe.as_dict()}
        done = {"steps": training.steps, "precision": training.precision, "budget": training.budget}
        return of_method | dict(_flat({**used, **done}))

    def weights(self, which: str) -> str | None:
        """Digest of the weights of `original` or `retrained`; None where the record has none."""
        facts = self.run.record.retrained if which == "retrained" else self.run.record.model.before
        return facts.weights if facts else None

    def finding(self, name: str) -> Finding | None:
        """The unlearned model's figure of a probe."""
        return self.run.findings.find(name)


def change(run: ComparedRun, set_name: str, model: str, other: str) -> Change | None:
    """How `model` stands to `other` on a set: a ratio of mean errors, or for other measures their difference.

    The interval is a paired bootstrap over images, made as those of requirements (ratios) and of results (differences);
    there is none below five images. None where either model was not measured.
    """
    measure = run.measure
    mine, its = (find(run.run.rows, name, set_name, measure.name) for name in (model, other))
    if mine is None or its is None or mine.value is None or its.value is None:
        return None
    if measure.is_ratio and its.value <= 0:
        return None
    value = mine.value / its.value if measure.is_ratio else mine.value - its.value
    by_image = [run.by_image.of(name, set_name) for name in (model, other)]
    # in the file's order: that of keyed ids is another one in every run, and with it the draws
    names = [] if model == other else [name for name in by_image[0] if name in by_image[1]]
    values, others = ([images[name] for name in names] for images in by_image)
    interval = _interval(values, others, run, measure.is_ratio)
    return Change(value, *interval[1:]) if interval else Change(value)


def gap(change: Change, is_ratio: bool) -> Change:
    """How far a change is from none, with its ends: |ln ratio|, or |difference|."""
    value, low, high = (None if end is None else _log(end) if is_ratio else end for end in change)
    assert value is not None
    if low is None or high is None:
        return Change(abs(value))
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Change(abs(value), nearest, max(abs(low), abs(high)))


def differing_settings(runs: Sequence[ComparedRun]) -> list[dict[str, str]]:
    """For each run, its settings that not all runs share; a setting that only some have counts as differing."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    differing = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return [{name: run.settings[name] for name in differing if name in run.settings} for run in runs]


def _interval(
    values: Sequence[float], others: Sequence[float], run: ComparedRun, is_ratio: bool
) -> Sequence[float] | None:
    evaluation = run.run.record.evaluation
    if evaluation is None or len(values) < FEWEST_GROUPS:
        return None
    interval = bootstrap_ratio if is_ratio else bootstrap_difference
    return interval(values, others, **evaluation.settings.resampling)


def _flat(values: Mapping[str, object], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield before + name, setting(value)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
