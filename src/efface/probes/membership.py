"""Does the model's error say that an image was trained on?

Membership attacks on forget images (members, if anything is left) against neutral ones, with nothing but the model under
attack. `membership-loss`: the lower the loss the more likely a member (Yeom et al. 2018, arXiv:1709.01604); of a
classifier the logit-scaled confidence, which orders images as the loss does (Carlini et al. 2022, arXiv:2112.03570).

For classifiers `membership-class` compares images with others of their own class alone (Song and Mittal 2021,
arXiv:2003.10595, take a threshold for each class): classes differ in difficulty, and forget and neutral images in how
many of each they hold.

For generators `membership-views` gives each photo in several crops, and the same crops upside down, which were not trained
on and are about as difficult. A member's error rises when it is turned; the rise takes the photo's own difficulty off,
which the loss attack confuses with memory (the neighbourhood attack of Mattern et al. 2023, arXiv:2305.18462, on
pictures). The rise is the mean over views of the log error's difference, divided by its spread plus the median spread of
all photos, so that few views do not make chance large (the statistic of Tusher et al. 2001, PNAS 98).

Deviations: neighbours are turned crops, not words replaced by a model; no attack calibrates with shadow models, which are
stronger (Carlini et al. 2022, arXiv:2112.03570) and need many trainings.

It cannot show that nothing is left, and where forget and neutral images differ in kind, areas differ from 0.5 for that
reason alone: read the figure beside the retrained model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, Criterion, FiguresByKind, Probe, Scores, Side, area, auc, judged, logs
from efface.probes.findings import Findings
from efface.probes.subject import AnySubject, Share, Values

if TYPE_CHECKING:
    from torch import Tensor

    from efface.probes.generator_subject import GeneratorSubject
    from efface.randomness import Draws

BY_LOSS, BY_VIEWS, BY_CLASS = "membership-loss", "membership-views", "membership-class"
SETS: tuple[SetName, ...] = ("forget", "neutral")
FALSE_POSITIVES = {"-tpr": 0.05, "-tpr1": 0.01}
"""By the suffix of a figure: the share of neutral images that may be taken for members."""


class Membership(Probe):
    """Attack by loss; beside it within classes, or by several views calibrated with turned ones."""

    views: int = Field(8, ge=2, description="of generators: crops of each photo in the multi-view attack")

    name: ClassVar[str] = "membership"
    question: ClassVar[str] = "Does the model's error say that an image was trained on?"
    summary: ClassVar[str] = (
        "membership attacks on forget against neutral images: by loss, by views or by class"
    )
    source: ClassVar[str] = "Yeom et al. 2018, arXiv:1709.01604; Mattern et al. 2023, arXiv:2305.18462"
    needs: ClassVar[tuple[SetName, ...]] = SETS
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {
        "generator": (BY_LOSS, f"{BY_LOSS}-tpr", BY_VIEWS, f"{BY_VIEWS}-tpr"),
        "classifier": (BY_LOSS, f"{BY_LOSS}-tpr", f"{BY_LOSS}-tpr1", BY_CLASS),
    }
    memory: ClassVar[Mapping[str, Side]] = dict.fromkeys(
        (*figures["generator"], *figures["classifier"]), "above"
    )

    def run(self, subject: AnySubject) -> Findings:
        scores: dict[ModelName, Scores] = {
            model: {name: subject.confidence(model, name) for name in SETS} for model in subject.models
        }
        findings = self._judged(BY_LOSS, scores, subject)
        if BY_CLASS in self.figures[subject.kind]:
            return findings.join(self._within_classes(scores, subject))
        views = self._view_scores(cast("GeneratorSubject", subject))
        return findings.join(self._judged(BY_VIEWS, views, subject))

    def _judged(self, figure: str, scores: dict[ModelName, Scores], subject: AnySubject) -> Findings:
        findings = judged(self.name, figure, scores, auc("forget", "neutral"), subject)
        forget, neutral = (len(next(iter(scores.values()))[name]) for name in SETS)
        for suffix, rate in FALSE_POSITIVES.items():
            if f"{figure}{suffix}" not in self.figures[subject.kind]:
                continue
            if neutral * rate < 1:
                need = f"{1 / rate:.0f} are needed for a threshold of {100 * rate:g} % false positives"
                why = f"{neutral} neutral photos; {need}"
                findings = findings.join(self.unmeasured(subject, (f"{figure}{suffix}",), why))
                continue
            criterion = true_positives("forget", "neutral", rate)
            share = Share(images=forget)
            findings = findings.join(
                judged(self.name, figure + suffix, scores, criterion, subject, share=share)
            )
        return findings

    def _within_classes(self, scores: dict[ModelName, Scores], subject: AnySubject) -> Findings:
        classes = {name: subject.classes(subject.photos(name)) for name in SETS}
        common = sorted({label for label in classes["forget"] if label} & set(classes["neutral"]), key=str)
        if not common:
            why = "no class has both forget and neutral images"
            return self.unmeasured(subject, (BY_CLASS,), why)
        numbers = {label: number for number, label in enumerate(common)}
        belongs = {
            name: np.array([numbers.get(label or "", -1) for label in labels])
            for name, labels in classes.items()
        }
        inside = {name: given >= 0 for name, given in belongs.items()}
        within: dict[ModelName, Scores] = {
            model: {name: np.stack([given[name], belongs[name]], axis=1)[inside[name]] for name in SETS}
            for model, given in scores.items()
        }
        note = f"{inside['forget'].sum()} forget and {inside['neutral'].sum()} neutral images of {len(common)} classes"
        return judged(self.name, BY_CLASS, within, area_within_classes, subject, note=note)

    def _view_scores(self, subject: GeneratorSubject) -> dict[ModelName, Scores]:
        settings = subject.settings.model_copy(update={"crops_per_image": self.views})
        rises: dict[ModelName, dict[str, Values]] = {model: {} for model in subject.models}
        for name in SETS:
            images = subject.photos(name)
            upright = subject.restored_errors(images, name=f"membership, {name}", settings=settings)
            turned = subject.restored_errors(
                images, name=f"membership, {name} turned", settings=settings, change=_turned
            )
            for model in subject.models:
                rises[model][name] = logs(turned[model]) - logs(upright[model])
        return {model: calibrated(given) for model, given in rises.items()}


def area_within_classes(scores: Scores) -> float:
    """Share of pairs of one class in which the forget image scores higher. scores: `[images, (score, class)]`.

    nan where no class has images on both sides.
    """
    pairs = won = 0.0
    for label in np.unique(scores["forget"][:, 1]):
        inside, outside = (scores[name][scores[name][:, 1] == label, 0] for name in SETS)
        if count := len(inside) * len(outside):
            pairs, won = pairs + count, won + count * area(inside, outside)
    return won / pairs if pairs else float("nan")


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


def _turned(pictures: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    turned = pictures.flip(2)
    return turned, turned
