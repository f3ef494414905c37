"""Are some of the forgotten images treated as before, though the mean has moved?

A mean over forget images hides that some of them were not forgotten. An image counts as unmoved where the model's log
error lies nearer to the original's than `nearness` times as far as the retrained model's does, and as moved alone where
it is the other way round. The figure is the difference of the two shares. Where the model is another retraining, the two
models may be exchanged, so both shares are the same in the mean however often chance brings an error back to where it was,
and the figure is about 0; it rises by the share of images that were left as they were.

It is a sign test on pairs (Dixon and Mood 1946, JASA 41) of which those that lie too close to call are left out.

It cannot see images that are remembered and answered otherwise, nor tell which they are: of those that look unmoved some
are so by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, Criterion, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Findings, Goal
from efface.probes.subject import LOG_ERROR, AnySubject, Share

FIGURE = "unmoved"


class Unmoved(Probe):
    """The share of forget images that are answered as by the original, beyond what two retrainings would show."""

    nearness: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the distance between original and retrained model below which an image is unmoved",
    )

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "Are some of the forgotten images treated as before, though the mean moved?"
    summary: ClassVar[str] = "share of forget images whose error is still the original's, beyond chance"
    source: ClassVar[str] = "a sign test: Dixon and Mood 1946, JASA 41"
    needs_retrained: ClassVar[bool] = True
    cost: ClassVar[Cost] = "nothing"
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,), "classifier": (FIGURE,)}
    goals: ClassVar[Mapping[str, Goal]] = {FIGURE: "low"}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "above"}

    def ask(self, subject: AnySubject) -> Findings:
        if "original" not in subject.models:
            return self.unanswered(subject, "there is no original model to compare with")
        return super().ask(subject)

    def run(self, subject: AnySubject) -> Findings:
        errors = {model: subject.evaluated(model, "forget")[LOG_ERROR] for model in subject.models}
        apart = {model: np.abs(values - errors["original"]) for model, values in errors.items()}
        scores: dict[ModelName, Scores] = {
            model: {"forget": np.stack([own, apart["retrained"]], axis=1)} for model, own in apart.items()
        }
        return judged(
            self.name, FIGURE, scores, surplus(self.nearness), subject,
            unit="share of images", goal=self.goals[FIGURE], share=Share(-1, known="retrained"),
        )  # fmt: skip


def surplus(nearness: float) -> Criterion:
    """Share of images whose first distance is below `nearness` times the second, less the share of the reverse.

    scores: `forget` `[images, (model to original, retrained to original)]`.

    >>> surplus(0.25)({"forget": np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 0.1]])})
    0.25
    """

    def criterion(scores: Scores) -> float:
        own, other = scores["forget"].T
        return float((own < nearness * other).mean() - (other < nearness * own).mean())

    return criterion
