"""Is the unlearned model closer to the retrained one than to the original, on forget images?

The relative test of Bounliphone et al. (ICLR 2016, arXiv:1511.04581) on laws of errors over photos (`forgetting.relative`).
A photo is one row: the logarithms of the errors of its views, less the mean of original and retrained, since photos
differ more from each other than models do on one photo.

Deviations: all models are asked about the same photos, so the deviation is that of pairs, by leaving out photos.

It is a test, not the verdict: a model just past half way passes. One original and one retrained model stand for their
kinds, and another seed of either may put the unlearned model on another side.

Where a second retrained model is given, it is the yardstick: the test of Ribero, Schrab and Gretton (AISTATS 2026,
arXiv:2601.19755, `forgetting.relative_divergence`) says whether the unlearned model is farther from the retrained one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from efface.forgetting.relative import FEWEST, closer_to_retrained
from efface.forgetting.relative_divergence import like_another_retraining
from efface.probes.base import FiguresByKind, Probe, Side
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.subject import LOG_ERROR, AnySubject

FIGURE, LIKENESS = "closer-to-retrained", "like-another-retraining"


class CloserToRetrained(Probe):
    """The distance from the original less that from the retrained model, and whether another retraining is as far."""

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "Is it closer to the retrained model than to the original, on forget images?"
    summary: ClassVar[str] = "relative kernel test between the errors of three models on forget images"
    source: ClassVar[str] = (
        "Bounliphone et al., ICLR 2016, arXiv:1511.04581; Ribero et al., AISTATS 2026, arXiv:2601.19755"
    )
    needs_retrained: ClassVar[bool] = True
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE, LIKENESS), "classifier": (FIGURE, LIKENESS)}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below"}
    goals: ClassVar[Mapping[str, Goal]] = {FIGURE: "above", LIKENESS: "above"}
    held_back: ClassVar[Mapping[str, str]] = {FIGURE: LIKENESS}

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
        return Findings(tuple(findings)).join(self._beside_yardstick(subject))

    def _beside_yardstick(self, subject: AnySubject) -> Findings:
        """Whether another retraining is as far from the retrained model, by the error of each photo."""
        if subject.yardstick is None:
            return self.unmeasured(subject, [LIKENESS], "there is no second retrained model (--yardstick)")
        if "unlearned" not in subject.models:
            return self.unmeasured(subject, [LIKENESS], "there is no unlearned model")
        unlearned, retrained = (
            subject.evaluated(name, "forget")[LOG_ERROR][:, None] for name in ("unlearned", "retrained")
        )
        yardstick = subject.errors(subject.yardstick, subject.photos("forget"))[LOG_ERROR][:, None]
        test = like_another_retraining(unlearned, retrained, yardstick, seed=subject.seed)
        return Findings((
            Finding(
                self.name, LIKENESS, "unlearned", test.p_value, *test.ends, goal="above", n=len(unlearned),
                note="the p value itself, against: no farther from the retrained model than another retraining is; "
                "its interval is that of the draws",
            ),
        ))  # fmt: skip
