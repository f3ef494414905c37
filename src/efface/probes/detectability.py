"""Can one tell from the output alone that an image had been forgotten?

Two tests between a model's outputs on forget images and on neutral ones of the same classes: a classifier two-sample
test (Lopez-Paz and Oquab 2017, arXiv:1610.06545) and, so that the verdict does not hang on one classifier, a kernel
test (Gretton et al. 2012, JMLR 13). Features are those of the evaluation's extractor and plain statistics of what stands
in the hole, both as means over the views of a photo. Neither test sees the true picture.

Deviations: the statistic of the first test is the area under the curve, compared within folds (see `two_sample`), not
accuracy. Intervals draw photos anew with the fitted scores as they are.

It cannot show that nobody can tell: another observer may look at other features. A retrained model is needed for the
reading, because forget and neutral images may differ in kind, and every model then shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Findings
from efface.probes.subject import Values, once
from efface.probes.two_sample import (
    Matched,
    area_within_folds,
    detect,
    kernel_difference,
    kernel_rows,
    matched,
    permutation_p,
)
from efface.randomness import numpy_draws

if TYPE_CHECKING:
    from efface.probes.generator_subject import GeneratorSubject

FEWEST = 2
FEWEST_TO_TRUST = 20
"""Photos on a side below which areas scatter by more than 0.1 by chance alone."""


class Detectability(Probe):
    """Tell outputs on forget images from outputs on neutral ones."""

    folds: int = Field(
        5, ge=2, description="parts of the cross-validation; fewer where a side has fewer photos"
    )
    repeats: int = Field(5, ge=1, description="how often the photos are dealt to folds anew")
    penalty: float = Field(
        10.0,
        gt=0,
        description="weight of half the classifier's squared coefficients against its summed losses",
    )
    kernel_photos: int = Field(
        300, ge=10, description="photos of a side in the kernel test; more are drawn from"
    )
    permutations: int = Field(999, ge=99, description="deals of the kernel test's permutation p-value")

    name: ClassVar[str] = "detectability"
    question: ClassVar[str] = "Can one tell from the output alone that an image had been forgotten?"
    summary: ClassVar[str] = "classifier and kernel test between outputs on forget and on neutral images"
    source: ClassVar[str] = "Lopez-Paz and Oquab 2017, arXiv:1610.06545; Gretton et al. 2012, JMLR 13"
    needs: ClassVar[tuple[SetName, ...]] = ("forget", "neutral")
    cost: ClassVar[Cost] = "nothing"
    figures: ClassVar[FiguresByKind] = {"generator": ("detectability", "detectability-mmd")}
    memory: ClassVar[Mapping[str, Side]] = {"detectability": "above", "detectability-mmd": "above"}

    def run(self, subject: GeneratorSubject) -> Findings:
        match = matched(subject.photos("forget").labels, subject.photos("neutral").labels)
        fewest = min(len(match.forget), len(match.neutral))
        if fewest < FEWEST:
            return self.unanswered(subject, f"fewer than {FEWEST} photos to compare on a side")
        note = match.note
        if fewest < FEWEST_TO_TRUST:
            note += f"; only {fewest} photos on a side: chance moves the area by more than 0.1"
        sides = {
            model: (
                output_features(subject, model, "forget")[match.forget],
                output_features(subject, model, "neutral")[match.neutral],
            )
            for model in subject.models
        }
        by_classifier = {model: self._detected(*side, match, subject.seed) for model, side in sides.items()}
        areas = judged(self.name, "detectability", by_classifier, area_within_folds, subject, note=note)
        return areas.join(self._kernel_test(sides, match, subject))

    def _detected(self, forget: Values, neutral: Values, match: Matched, seed: int) -> Scores:
        return detect(
            forget,
            neutral,
            weights=match.weights,
            strata=(match.forget_strata, match.neutral_strata),
            folds=self.folds,
            repeats=self.repeats,
            penalty=self.penalty,
            seed=seed,
        )

    def _kernel_test(
        self, sides: dict[ModelName, tuple[Values, Values]], match: Matched, subject: GeneratorSubject
    ) -> Findings:
        draws = numpy_draws(subject.seed, "detectability kernel photos")
        chosen = [
            np.sort(draws.permutation(count)[: self.kernel_photos])
            for count in (len(match.forget), len(match.neutral))
        ]
        strata = match.forget_strata[chosen[0]], match.neutral_strata[chosen[1]]
        rows = {
            model: kernel_rows(forget[chosen[0]], neutral[chosen[1]], match.weights[chosen[1]])
            for model, (forget, neutral) in sides.items()
        }
        findings = judged(self.name, "detectability-mmd", rows, kernel_difference, subject)
        return findings.noted(
            lambda finding: self._chance(rows[finding.model], strata, subject.seed), first=True
        )

    def _chance(self, rows: Scores, strata: tuple[np.ndarray, np.ndarray], seed: int) -> str:
        p = permutation_p(rows, strata, permutations=self.permutations, seed=seed)
        return f"permutation p = {p:.3g} ({self.permutations} deals)"


def output_features(subject: GeneratorSubject, model: ModelName, name: SetName) -> Values:
    """What anyone sees of a model's outputs: features and hole statistics, `[photos, features]`, no truth."""
    seen: Values = subject.answers(model, name).seen.astype(np.float64)
    return seen[once(subject.sets[name])]
