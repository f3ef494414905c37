"""Is the unlearned model closer to the retrained one than to the original, on forget images?

The relative test of Bounliphone et al. (ICLR 2016, arXiv:1511.04581) on laws of errors over photos (`forgetting.relative`).
A photo is one row: the logarithms of the errors of its views, less the mean of original and retrained, since photos
differ more from each other than models do on one photo.

Deviations: all models are asked about the same photos, so the deviation is that of pairs, by leaving out photos.

It is a test, not the verdict: a model just past half way passes. One original and one retrained model stand for their
kinds, and another seed of either may put the unlearned model on another side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.forgetting.relative import FEWEST, closer_to_retrained
from efface.probes.base import FiguresByKind, Probe, Side
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.subject import LOG_ERROR, AnySubject

FIGURE = "closer-to-retrained"


class CloserToRetrained(Probe):
    """The distance from the original less that from the retrained model."""

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "Is it closer to the retrained model than to the original, on forget images?"
    summary: ClassVar[str] = "relative kernel test between the errors of three models on forget images"
    source: ClassVar[str] = "Bounliphone et al., ICLR 2016, arXiv:1511.04581"
    needs_retrained: ClassVar[bool] = True
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,), "classifier": (FIGURE,)}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below"}
    goals: ClassVar[Mapping[str, Goal]] = {FIGURE: "above"}

    def run(self, subject: AnySubject) -> Findings:
        if "original" not in subject.models:
            return self.unanswered(subject, "there is no original model")
        errors = {model: subject.evaluated_views(model, "forget")[LOG_ERROR] for model in subject.models}
        photos = len(errors["original"])
        if photos < FEWEST:
            return self.unanswered(subject, f"fewer than {FEWEST} photos")
        findings = []
        for model, own in errors.items():
            test = closer_to_retrained(
                own, errors["original"], errors["retrained"], confidence=subject.settings.confidence
            )
            findings.append(
                Finding(
                    self.name, FIGURE, model, test.difference, test.low, test.high,
                    goal=self.goals[FIGURE], n=photos,
                    note=f"p = {test.p_value:.3g} against: no closer to the retrained model",
                )
            )  # fmt: skip
        return Findings(tuple(findings))
