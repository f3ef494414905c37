"""Forgotten in the views that were measured, but not at another scale?

A model knows an image best in the views that it learnt, and those may be others than were measured: nearer, or more of
it. Here forget and neutral images are shown at several scales, that is in views that cover the same share of every image.
The figure of each scale is the mean error on forget images over that on neutral ones, beside the retrained model's. The
first figure is that of the scale at which the unlearned model lies lowest relative to its reference, an attacker's best
case, with an interval widened for having been chosen among several (Bonferroni).

It cannot show how it is at scales that are not listed, nor in other parts of an image than the views show. A ratio above
the retrained model's is overshooting, not forgetting well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.evaluation.results import SetName
from efface.evaluation.settings import CropShare
from efface.probes.base import Cost, FiguresByKind, Probe, Side
from efface.probes.findings import Findings
from efface.probes.lowest import SETS, lowest_and_each, ratio_scores

if TYPE_CHECKING:
    from efface.probes.generator_subject import GeneratorSubject

FIGURE = "other-scales"


class OtherScales(Probe):
    """Forget error over neutral error at each of several scales."""

    scales: tuple[CropShare, ...] = Field(
        (1.0, 0.7, 0.5, 0.35, 0.2), min_length=1, description="shares of an image's area that views cover"
    )

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "Forgotten in the views that were measured, but not at another scale?"
    summary: ClassVar[str] = (
        "forget error over neutral error at several scales, from the whole image to a fifth"
    )
    source: ClassVar[str] = "reviews of Feng et al., ICLR 2025 (OpenReview: crop sizes)"
    needs: ClassVar[tuple[SetName, ...]] = SETS
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,)}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below"}

    def run(self, subject: GeneratorSubject) -> Findings:
        scores = {}
        for scale in dict.fromkeys(self.scales):
            settings = subject.settings.model_copy(update={"crop_scale": (scale, scale)})
            scores[f"{FIGURE}:{scale:g}"] = ratio_scores(subject, f"scale {scale:g}", settings=settings)
        return lowest_and_each(FIGURE, scores, subject)
