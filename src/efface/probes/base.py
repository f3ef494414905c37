"""What a probe is: an attack that gives scores, a criterion that makes a figure of them, and a reference beside it.

A probe asks one question of an unlearned generator. Its figures say nothing alone: they stand beside the retrained
model's, or, where there is none, beside the original's. Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.metrics.intervals import percentile_ends
from efface.probes.findings import Finding, Findings
from efface.progress import Progress
from efface.randomness import numpy_draws
from efface.settings import Settings
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from efface.corruptions import Corruption
    from efface.evaluation.answers import Answers
    from efface.evaluation.protocol import Evaluation
    from efface.generators.base import Generator
    from efface.images.cache import PixelSource
    from efface.images.items import ImageSet
    from efface.metrics.extractors import FeatureExtractor

Values = npt.NDArray[np.float64]
Scores = Mapping[str, Values]
"""An attack's scores on one model, by group: arrays `[images, ...]` whose images are the same for every model."""
Criterion = Callable[[Scores], float]
"""A figure made of scores; nan where it cannot be had of these."""
Cost = Literal["nothing", "passes", "training"]

FEWEST_IMAGES = 5
"""Of a group, below which a figure has no interval."""
TOO_FEW = f"interval not available: fewer than {FEWEST_IMAGES} images"


@dataclass(frozen=True)
class Subject:
    """What a probe is given: the models, the images, and what the evaluation found of them.

    training: how the run trained (batch, precision, crops), for probes that train. seed: of every draw of the probes.
    Models are in evaluation mode, and must be left with the weights that they have.
    """

    models: Mapping[ModelName, Generator]
    sets: Mapping[SetName, ImageSet]
    cache: PixelSource
    corruption: Corruption
    extractor: FeatureExtractor
    settings: EvaluationSettings
    evaluation: Evaluation
    training: TrainingSettings = field(default_factory=TrainingSettings)
    pairs: Mapping[str, str] | None = None
    seed: int = 0
    progress: Progress = field(default_factory=Progress)

    @property
    def reference(self) -> ModelName | None:
        """The model beside which the unlearned one is put."""
        return next((name for name in ("retrained", "original") if name in self.models), None)

    def has(self, *names: SetName) -> bool:
        """Whether these sets hold images."""
        return all(len(self.sets.get(name, ())) > 0 for name in names)

    def answers(self, model: ModelName, name: SetName) -> Answers:
        """What the evaluation kept of a model on a set."""
        return self.evaluation.answers[model, name]


class Probe(Settings, ABC):
    """One question to an unlearned generator: its settings, and what it needs."""

    name: ClassVar[str]
    question: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    """Names of the figures that it gives: what `--require` can name."""
    needs: ClassVar[tuple[SetName, ...]] = ("forget",)
    """Sets without which it cannot be asked."""
    needs_retrained: ClassVar[bool] = False
    """Whether its figures mean nothing without a retrained model."""
    cost: ClassVar[Cost] = "nothing"
    """Beyond the evaluation: nothing, more passes over the images, or training."""

    @abstractmethod
    def run(self, subject: Subject) -> Findings:
        """Ask the question of every model; models keep their weights."""

    def ask(self, subject: Subject) -> Findings:
        """`run`, or a note in its place where a set or the reference is missing."""
        missing = [name for name in self.needs if not subject.has(name)]
        if missing:
            return self.unanswered(subject, f"there are no {' and no '.join(missing)} images")
        if self.needs_retrained and "retrained" not in subject.models:
            return self.unanswered(subject, "there is no retrained model")
        return self.run(subject)

    def unanswered(self, subject: Subject, why: str) -> Findings:
        """A finding without a value, which says why."""
        model: ModelName = "unlearned" if "unlearned" in subject.models else "original"
        note = f"not measurable: {why}"
        return Findings(tuple(Finding(self.name, figure, model, None, note=note) for figure in self.figures))


def judged(
    probe: str,
    figure: str,
    scores: Mapping[ModelName, Scores],
    criterion: Criterion,
    subject: Subject,
    *,
    unit: str = "1",
    goal: str = "zero",
    note: str | None = None,
    share: bool = False,
) -> list[Finding]:
    """The figure of each model beside the reference's, with percentile bootstrap intervals over images.

    Images of a group are drawn anew together for all models, so differences are paired. Percentiles are read at the
    expanded levels of the smallest group (see `metrics.intervals`): plain ones are too narrow for few images. No
    intervals where a group has fewer than `FEWEST_IMAGES` images.

    share: the figure is a share of images. Where it is none or all of them, draws cannot differ, and the interval
    reaches as far as the exact one (Clopper and Pearson 1934): none of 20 may still be 17 % of all.
    """
    groups = {name: len(values) for name, values in next(iter(scores.values())).items()}
    reference = subject.reference if subject.reference in scores else None
    values = {model: criterion(given) for model, given in scores.items()}
    drawn: dict[ModelName, Values] = {}
    if min(groups.values()) >= FEWEST_IMAGES:
        rounds = subject.settings.resamples
        draws = numpy_draws(subject.settings.seed, "probe bootstrap", probe, figure)
        places = [
            {name: draws.integers(0, count, count) for name, count in groups.items()} for _ in range(rounds)
        ]
        drawn = {
            model: np.array(
                [criterion({name: given[name][some[name]] for name in groups}) for some in places]
            )
            for model, given in scores.items()
        }
    confidence, fewest = subject.settings.confidence, min(groups.values())
    reach, none_or_all = 0.0, set[ModelName]()
    if drawn and share:
        reach = 1 - ((1 - confidence) / 2) ** (1 / fewest)
        none_or_all = {model for model, value in values.items() if value in (0, 1)}
    found = []
    for model, value in values.items():
        other = reference if reference != model else None
        low, high = _ends(drawn.get(model), confidence, fewest)
        apart = drawn[model] - drawn[other] if other and drawn else None
        difference_low, difference_high = _ends(apart, confidence, fewest)
        if model in none_or_all:
            low, high = max(value - reach, 0.0), min(value + reach, 1.0)
            if other in none_or_all:
                apart_by = value - values[other]
                difference_low, difference_high = max(apart_by - reach, -1.0), min(apart_by + reach, 1.0)
        measured = not np.isnan(value)
        found.append(
            Finding(
                probe,
                figure,
                model,
                value if measured else None,
                low if measured else None,
                high if measured else None,
                other,
                values[other] if other else None,
                value - values[other] if other and measured else None,
                difference_low if measured else None,
                difference_high if measured else None,
                unit,
                goal,
                sum(groups.values()),
                note if drawn else "; ".join(filter(None, (note, TOO_FEW))),
            )
        )
    return found


def _ends(values: Values | None, confidence: float, units: int) -> tuple[float | None, float | None]:
    if values is None or np.isnan(values).all():
        return None, None
    return percentile_ends(values, confidence, units=units)
