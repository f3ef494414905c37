"""Forgotten under the run's corruption, but not under another?

A method trains and is measured under one corruption. Here the same images are hidden in other ways: other sides, smaller
and larger holes, scattered patches; or degraded in other ways, for a model that is shown degraded pictures. The figure
of each corruption is the mean error on forget images over that on neutral ones, beside the retrained model's. The first
figure is that corruption's in which the unlearned model lies lowest relative to its reference, with intervals widened
for having been chosen among several (Bonferroni). Asked for by reviewers of the ICLR 2025 successor (crop sizes) and of
the paper itself (images to images in general).

It cannot show how it is under corruptions that are not listed. A ratio above the retrained model's is overshooting, not
forgetting well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, field_validator

from efface.errors import InputError
from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, judged, ratio_of_means
from efface.probes.findings import Findings

if TYPE_CHECKING:
    from efface.corruptions import Corruption
    from efface.probes.generator_subject import GeneratorSubject

FIGURE = "other-corruptions"
HOLES = ("centre:0.25", "centre:0.625", "extend-left:0.25", "extend-down:0.5", "random:0.5")
CONDITIONS = ("downsample:4", "blur:0.02", "colour", "jpeg:10")
SETS: tuple[SetName, ...] = ("forget", "neutral")
CRITERION = ratio_of_means("forget", "neutral")


class OtherCorruptions(Probe):
    """Forget error over neutral error under each of a list of corruptions."""

    corruptions: tuple[str, ...] = Field(
        (), description="those to try; empty: a choice of holes, or of degradations for a run that has one"
    )

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "Forgotten under the run's corruption, but not under another?"
    summary: ClassVar[str] = "forget error over neutral error under other corruptions"
    source: ClassVar[str] = "reviews of Feng et al., ICLR 2025, and of Li et al., ICLR 2024 (OpenReview)"
    needs: ClassVar[tuple[SetName, ...]] = SETS
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,)}

    @field_validator("corruptions")
    @classmethod
    def _readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        from efface.corruptions import parse_corruption

        for text in texts:
            try:
                parse_corruption(text)
            except InputError as error:
                raise ValueError(str(error)) from None
        return texts

    def run(self, subject: GeneratorSubject) -> Findings:
        scores: dict[str, dict[ModelName, Scores]] = {}
        refused, each = Findings(), Findings()
        for corruption in self._chosen(subject):
            figure = f"{FIGURE}:{corruption.label}"
            why = _refusal(corruption, subject)
            if why:
                refused = refused.join(self.unmeasured(subject, (figure,), why))
            else:
                scores[figure] = _scores(subject, corruption)
        if not scores:
            unmeasured = self.unmeasured(subject, (FIGURE,), "the model takes none of these corruptions")
            return unmeasured.join(refused)
        for figure, of_models in scores.items():
            each = each.join(judged(self.name, figure, of_models, CRITERION, subject))
        return self._lowest(subject, scores).join(each).join(refused)

    def _lowest(self, subject: GeneratorSubject, scores: dict[str, dict[ModelName, Scores]]) -> Findings:
        """The figure of the corruption in which the unlearned model is lowest relative to its reference."""
        model = subject.questioned
        beside = subject.reference if subject.reference != model else None

        def relative(figure: str) -> float:
            ratio = CRITERION(scores[figure][model])
            return ratio / CRITERION(scores[figure][beside]) if beside else ratio

        lowest = min(scores, key=relative)
        confidence = 1 - (1 - subject.settings.confidence) / len(scores)
        widened = replace(subject, settings=subject.settings.model_copy(update={"confidence": confidence}))
        note = f"{lowest.partition(':')[2]}, the lowest of {len(scores)}; interval widened for the choice"
        return judged(self.name, FIGURE, scores[lowest], CRITERION, widened, note=note)

    def _chosen(self, subject: GeneratorSubject) -> list[Corruption]:
        from efface.corruptions import parse_corruption

        texts = self.corruptions or (HOLES if subject.corruption.hides else CONDITIONS)
        wanted = [parse_corruption(text) for text in texts]
        return [corruption for corruption in wanted if str(corruption) != str(subject.corruption)]


def _refusal(corruption: Corruption, subject: GeneratorSubject) -> str | None:
    """Why one of the models cannot be shown it."""
    if corruption.paired:
        return "a paired corruption needs other picture files than the run's"
    for model in subject.models.values():
        try:
            model.check_corruption(corruption)
        except InputError as error:
            return str(error)
    return None


def _scores(subject: GeneratorSubject, corruption: Corruption) -> dict[ModelName, Scores]:
    errors = {
        name: replace(subject, pairs=None).restored_errors(
            subject.photos(name), name=f"{corruption}, {name}", corruption=corruption
        )
        for name in SETS
    }
    return {
        model: {name: np.asarray(errors[name][model].mean(axis=1)) for name in SETS}
        for model in subject.models
    }
