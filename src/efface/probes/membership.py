"""Does the model's error say that an image was trained on?

Two membership attacks on forget images (members, if anything is left) against neutral ones, both with nothing but the
model under attack. `membership-loss`: the lower the loss the more likely a member (Yeom et al. 2018, arXiv:1709.01604).
`membership-views`: each photo in several crops, and the same crops upside down, which were not trained on and are about
as difficult. A member's error rises when it is turned; the rise takes the photo's own difficulty off, which the loss
attack confuses with memory (the neighbourhood attack of Mattern et al. 2023, arXiv:2305.18462, on pictures). The rise
is the mean over views of the log error's difference, divided by its spread plus the median spread of all photos, so that
few views do not make chance large (the statistic of Tusher et al. 2001, PNAS 98).

Deviations: neighbours are turned crops, not words replaced by a model; neither attack calibrates with shadow models,
which are stronger (Carlini et al. 2022, arXiv:2112.03570) and need many trainings.

It cannot show that nothing is left, and where forget and neutral images differ in kind, areas differ from 0.5 for that
reason alone: read the figure beside the retrained model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, Criterion, Probe, Scores, Subject, Values, judged
from efface.probes.criteria import auc
from efface.probes.findings import Findings
from efface.probes.showing import kept_values, logs, photos, shown_errors, unmeasured

if TYPE_CHECKING:
    from torch import Tensor

    from efface.randomness import Draws

SETS: tuple[SetName, ...] = ("forget", "neutral")
FALSE_POSITIVES = 0.05
FEWEST_NEUTRAL = 20
"""Neutral photos below which no threshold has 5 % false positives."""


class Membership(Probe):
    """Attack by loss, and by several views calibrated with turned ones."""

    views: int = Field(8, ge=2, description="crops of each photo in the multi-view attack")

    name: ClassVar[str] = "membership"
    question: ClassVar[str] = "Does the model's error say that an image was trained on?"
    summary: ClassVar[str] = "membership attacks by loss and by several views, forget against neutral images"
    source: ClassVar[str] = "Yeom et al. 2018, arXiv:1709.01604; Mattern et al. 2023, arXiv:2305.18462"
    needs: ClassVar[tuple[SetName, ...]] = SETS
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[tuple[str, ...]] = (
        *("membership-loss", "membership-loss-tpr"),
        *("membership-views", "membership-views-tpr"),
    )

    def run(self, subject: Subject) -> Findings:
        by_loss = self._judged("membership-loss", _loss_scores(subject), subject)
        return by_loss.join(self._judged("membership-views", self._view_scores(subject), subject))

    def _judged(self, figure: str, scores: dict[ModelName, Scores], subject: Subject) -> Findings:
        found = Findings(tuple(judged(self.name, figure, scores, auc("forget", "neutral"), subject)))
        neutral = len(next(iter(scores.values()))["neutral"])
        if neutral < FEWEST_NEUTRAL:
            why = f"{neutral} neutral photos; {FEWEST_NEUTRAL} are needed for a threshold of 5 % false positives"
            return found.join(unmeasured(self, subject, (f"{figure}-tpr",), why))
        rate = true_positives("forget", "neutral", FALSE_POSITIVES)
        return found.join(Findings(tuple(judged(self.name, f"{figure}-tpr", scores, rate, subject))))

    def _view_scores(self, subject: Subject) -> dict[ModelName, Scores]:
        settings = subject.settings.model_copy(update={"crops_per_image": self.views})
        rises: dict[ModelName, dict[str, Values]] = {model: {} for model in subject.models}
        for name in SETS:
            images = photos(subject, name)
            upright = shown_errors(subject, images, name=f"membership, {name}", settings=settings)
            turned = shown_errors(
                subject, images, name=f"membership, {name} turned", settings=settings, change=_turned
            )
            for model in subject.models:
                rises[model][name] = logs(turned[model]) - logs(upright[model])
        return {model: calibrated(given) for model, given in rises.items()}


def calibrated(rises: Scores) -> Scores:
    """By group, `[photos]`: mean over views over (spread + median spread of all photos). rises: `[photos, views]`."""
    spreads = {name: values.std(axis=1, ddof=1) for name, values in rises.items()}
    typical = float(np.median(np.concatenate(list(spreads.values()))))
    return {
        name: values.mean(axis=1) / np.maximum(spreads[name] + typical, 1e-12)
        for name, values in rises.items()
    }


def true_positives(positives: str, negatives: str, rate: float) -> Criterion:
    """Share of positives above the lowest threshold that at most `rate` of the negatives exceed."""

    def criterion(scores: Scores) -> float:
        others = np.sort(scores[negatives])
        # 5 % of 20 is 1: the 20th of 20 may exceed the threshold, which is then the 19th
        threshold = others[len(others) - 1 - int(rate * len(others) + 1e-9)]
        return float((scores[positives] > threshold).mean())

    return criterion


def _loss_scores(subject: Subject) -> dict[ModelName, Scores]:
    """Minus the model's own loss where the evaluation asked for it, else minus its hole error."""
    values = next(iter(subject.evaluation.answers.values())).values
    metric = "task_loss" if "task_loss" in values else "hole_mse"
    return {
        model: {name: -kept_values(subject, model, name, metric) for name in SETS} for model in subject.models
    }


def _turned(pictures: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    turned = pictures.flip(2)
    return turned, turned
