"""Were some images forgotten and others not? The spread of a model's errors over the forget images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from efface.probes.base import FiguresByKind, Probe, Scores, judged
from efface.probes.findings import Findings
from efface.probes.subject import LOG_ERROR, AnySubject


class Unevenness(Probe):
    """The distance of two quantiles of the logarithm of the error over the forget images.

    A method that drives a few images far and leaves the others has a mean error like the retrained model's, and a wider
    spread.
    """

    share: float = Field(
        0.25, gt=0, lt=0.5, description="share of the images beyond each of the two quantiles"
    )

    name: ClassVar[str] = "unevenness"
    question: ClassVar[str] = "Were all images forgotten alike?"
    summary: ClassVar[str] = "spread of the errors over the forget images"
    source: ClassVar[str] = "an example"
    figures: ClassVar[FiguresByKind] = {"generator": ("unevenness",), "classifier": ("unevenness",)}

    def run(self, subject: AnySubject) -> Findings:
        scores = {
            model: {"forget": subject.evaluated(model, "forget")[LOG_ERROR]} for model in subject.models
        }
        return judged(self.name, "unevenness", scores, self.spread, subject, unit="nats")

    def spread(self, scores: Scores) -> float:
        """Of logarithms of errors, in nats."""
        low, high = np.quantile(scores["forget"], (self.share, 1 - self.share))
        return float(high - low)
