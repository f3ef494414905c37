"""The same images asked for in several ways: forget error over neutral error in each, and where it is lowest.

The way in which the unlearned model lies lowest relative to its reference was chosen by its result, so its interval is
widened (Bonferroni): over so many ways, a model that does not remember lies wholly below its reference in at most the share
of runs that its confidence leaves. That holds however the errors of the ways hang together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Scores, judged, ratio_of_means
from efface.probes.findings import Findings
from efface.probes.subject import AnySubject

if TYPE_CHECKING:
    from efface.corruptions import Corruption
    from efface.evaluation.settings import EvaluationSettings
    from efface.probes.generator_subject import GeneratorSubject

SETS: tuple[SetName, ...] = ("forget", "neutral")
CRITERION = ratio_of_means("forget", "neutral")


def ratio_scores(
    subject: GeneratorSubject,
    way: str,
    *,
    corruption: Corruption | None = None,
    settings: EvaluationSettings | None = None,
) -> Mapping[ModelName, Scores]:
    """Each model's errors on forget and neutral photos, `[photos]`, under another corruption or in other views."""
    errors = {
        name: subject.restored_errors(
            subject.photos(name), name=f"{way}, {name}", corruption=corruption, settings=settings
        )
        for name in SETS
    }
    return {
        model: {name: np.asarray(errors[name][model].mean(axis=1)) for name in SETS}
        for model in subject.models
    }


def lowest_and_each(
    figure: str, scores: Mapping[str, Mapping[ModelName, Scores]], subject: AnySubject
) -> Findings:
    """`figure` in the way in which the unlearned model lies lowest relative to its reference; then each of them.

    figure: also the name of the probe. scores: by `FIGURE:WAY`.
    """
    found = lowest(figure, scores, subject)
    for name, of_models in scores.items():
        found = found.join(judged(figure, name, of_models, CRITERION, subject))
    return found


def lowest(figure: str, scores: Mapping[str, Mapping[ModelName, Scores]], subject: AnySubject) -> Findings:
    """The first of these alone."""
    model = subject.questioned
    beside = subject.reference if subject.reference != model else None

    def relative(name: str) -> float:
        ratio = CRITERION(scores[name][model])
        return ratio / CRITERION(scores[name][beside]) if beside else ratio

    chosen = min(scores, key=relative)
    confidence = 1 - (1 - subject.settings.confidence) / len(scores)
    widened = replace(subject, settings=subject.settings.model_copy(update={"confidence": confidence}))
    note = f"{chosen.partition(':')[2]}, the lowest of {len(scores)}; interval widened for the choice"
    return judged(figure, figure, scores[chosen], CRITERION, widened, note=note)
