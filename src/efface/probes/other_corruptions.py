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

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from efface.errors import InputError
from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side
from efface.probes.findings import Findings
from efface.probes.lowest import SETS, lowest_and_each, ratio_scores

if TYPE_CHECKING:
    from efface.corruptions import Corruption
    from efface.probes.generator_subject import GeneratorSubject

FIGURE = "other-corruptions"
HOLES = ("centre:0.25", "centre:0.625", "extend-left:0.25", "extend-down:0.5", "random:0.5")
CONDITIONS = ("downsample:4", "blur:0.02", "colour", "jpeg:10")


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
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below"}

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
        scores: dict[str, Mapping[ModelName, Scores]] = {}
        refused = Findings()
        for corruption in self._chosen(subject):
            figure = f"{FIGURE}:{corruption.label}"
            why = _refusal(corruption, subject)
            if why:
                refused = refused.join(self.unmeasured(subject, (figure,), why))
            else:
                alone = replace(subject, pairs=None)
                scores[figure] = ratio_scores(alone, str(corruption), corruption=corruption)
        if not scores:
            unmeasured = self.unmeasured(subject, (FIGURE,), "the model takes none of these corruptions")
            return unmeasured.join(refused)
        return lowest_and_each(FIGURE, scores, subject).join(refused)

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
