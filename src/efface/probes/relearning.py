"""`relearning`: does the forgotten come back faster than it is learnt by a model that never saw it?

Every model is fine-tuned for a few steps, (a) on retain images only and (b) on a few forget images, while the error on
the (other) forget images is followed: the hole error of a generator; of a classifier the odds against an image's class,
and whether it names another. Follows the relearning attacks on unlearned language models (Hu et al. 2024,
arXiv:2406.13356) and the relearn time of classifiers (Golatkar et al., CVPR 2020; Tarun et al. 2021), whose forget
accuracy retain images alone may bring back (arXiv:2505.22310), and puts the retrained model's curve beside.

The figure is the greatest lead: the largest difference, over the checkpoints, of the retrained model's and the
unlearned model's mean log error after the same number of steps; with `-accuracy`, of their shares of wrong answers. It
deviates from two usual figures. The signed area between the curves cancels where the target was noise: such a model
begins far above the retrained one, and the steep first part outweighs a later fall below it. Steps to a midpoint between
original and retrained, or until an accuracy is reached, are undefined where it is not reached, and hang on one noisy
crossing where the two lie close together.

It cannot show that the forgotten is gone: other data, more steps or another rate may bring it back. Being a maximum
over a few checkpoints, it is a little above zero for two models that are equally ignorant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Curve, Findings, Goal
from efface.probes.subject import WRONG, AnySubject, ErrorKind, Errors, Images, Values, without

ON_RETAIN, ON_FEW = "relearning-retain", "relearning-few"
HALVINGS = 6


class Relearning(Probe):
    """The forget error along steps of fine-tuning, beside the retrained model's."""

    name: ClassVar[str] = "relearning"
    question: ClassVar[str] = "Do the forgotten images come back when training goes on?"
    summary: ClassVar[str] = "forget error along fine-tuning on retain images, and on a few forget images"
    source: ClassVar[str] = "relearning attacks: Hu et al. 2024, arXiv:2406.13356; Golatkar et al., CVPR 2020"
    figures: ClassVar[FiguresByKind] = {
        "generator": (ON_RETAIN, ON_FEW),
        "classifier": (ON_RETAIN, WRONG.named(ON_RETAIN), ON_FEW, WRONG.named(ON_FEW)),
    }
    goals: ClassVar[Mapping[str, Goal]] = dict.fromkeys(
        (*figures["generator"], *figures["classifier"]), "low"
    )
    memory: ClassVar[Mapping[str, Side]] = dict.fromkeys(figures["classifier"], "above")
    cost: ClassVar[Cost] = "training"

    steps: int = Field(
        50, ge=1, description="steps of fine-tuning, measured after 1/32, 1/16, ..., all of them"
    )
    shots: int = Field(4, ge=1, description="forget images that are trained on; the others are measured")
    images: int = Field(64, ge=1, description="at most so many forget images are measured")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; default: the run's own")

    def run(self, subject: AnySubject) -> Findings:
        forget = subject.sets["forget"]
        if subject.has("retain"):
            findings = self._relearn(subject, ON_RETAIN, subject.sets["retain"], forget)
        else:
            findings = self.unmeasured_by_all(subject, ON_RETAIN, "there are no retain images")
        shots, others = self.shots_of(subject)
        if len(others):
            return findings.join(self._relearn(subject, ON_FEW, shots, others))
        return findings.join(self.unmeasured_by_all(subject, ON_FEW, "it takes two different forget images"))

    def shots_of(self, subject: AnySubject) -> tuple[Any, Any]:
        """The forget images that are trained on, and the others; at most half of them are trained on."""
        forget = subject.sets["forget"]
        count = max(1, min(self.shots, len(set(forget.ids)) // 2))
        shots = subject.some_of(forget, count, "shots")
        return shots, without(forget, shots.ids)

    def checkpoints(self) -> tuple[int, ...]:
        """Steps after which errors are measured: none, and halves of halves of all."""
        return (0, *sorted({max(1, round(self.steps / 2**halving)) for halving in range(HALVINGS)}))

    def _relearn(self, subject: AnySubject, figure: str, trained_on: Images, forget: Images) -> Findings:
        measured = subject.some_of(forget, self.images, figure)
        errors = {
            model: self._errors(subject, model, figure, trained_on, measured) for model in subject.models
        }
        findings = Findings()
        for measure in subject.measures:
            findings = findings.join(
                self._leads(subject, figure, measure, {model: errors[model][measure] for model in errors})
            )
        return findings

    def _leads(
        self, subject: AnySubject, figure: str, measure: ErrorKind, errors: dict[ModelName, Values]
    ) -> Findings:
        """The curves and the figure of one measure, from `[images, checkpoints]`."""
        figure = measure.named(figure)
        steps = tuple(float(step) for step in self.checkpoints())
        curves = tuple(
            Curve(
                self.name,
                figure,
                model,
                "steps",
                steps,
                tuple(measure.of_means(values.mean(axis=0)).tolist()),
            )
            for model, values in errors.items()
        )
        if "retrained" not in errors:
            why = "there is no retrained model to compare the curves with"
            return self.unmeasured(subject, (figure,), why).join(Findings(curves=curves))
        scores = {
            model: {"forget": np.stack([values, errors["retrained"]], axis=-1)}
            for model, values in errors.items()
        }
        return Findings(curves=curves).join(judged(
            self.name, figure, scores, greatest_lead, subject,
            unit=measure.unit, goal=self.goals[figure], share=measure.share(known="retrained"),
        ))  # fmt: skip

    def _errors(
        self, subject: AnySubject, name: ModelName, figure: str, trained_on: Images, measured: Images
    ) -> Errors:
        """Errors `[images, checkpoints]` of a copy that is fine-tuned on `trained_on`."""
        model = subject.copy_of(subject.models[name])
        measurements = [subject.errors(model, measured)]
        subject.train(
            model,
            trained_on,
            figure,
            steps=self.steps,
            learning_rate=self.learning_rate,
            after=self.checkpoints(),
            measure=lambda: measurements.append(subject.errors(model, measured)),
        )
        return {
            measure: np.stack([errors[measure] for errors in measurements], axis=1)
            for measure in subject.measures
        }


def greatest_lead(scores: Scores) -> float:
    """Largest lead over the reference at one checkpoint, from errors `[images, checkpoints, (own, reference)]`.

    >>> round(greatest_lead({"forget": np.log([[[2.0, 1.0], [0.5, 1.0]]])}), 4)
    0.6931
    """
    lead = scores["forget"][..., 1] - scores["forget"][..., 0]
    return float(lead.mean(axis=0).max())
