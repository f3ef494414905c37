"""`relearning`: does the forgotten come back faster than it is learnt by a model that never saw it?

Every model is fine-tuned for a few steps, (a) on retain images only and (b) on a few forget images, while the hole
error on the (other) forget images is followed. Follows the relearning attacks on unlearned language models (Hu et al.
2024, arXiv:2406.13356) and the relearn time of classifiers (Golatkar et al., CVPR 2020; Tarun et al. 2021), with the
fine-tuning of `fine-tune`, and puts the retrained model's curve beside.

The figure is the greatest lead: the largest difference, over the checkpoints, of the retrained model's and the
unlearned model's mean log error after the same number of steps. It deviates from two usual figures. The signed area
between the curves cancels where the target was noise: such a model begins far above the retrained one, and the
steep first part outweighs a later fall below it. Steps to a midpoint between original and retrained are undefined
where it is not reached, and hang on one noisy crossing where the two lie close together.

It cannot show that the forgotten is gone: other data, more steps or another rate may bring it back. Being a maximum
over a few checkpoints, it is a little above zero for two models that are equally ignorant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, Probe, Scores, Subject, Values, judged
from efface.probes.findings import Curve, Findings
from efface.probes.showing import unmeasured

if TYPE_CHECKING:
    from efface.images.items import ImageSet

ON_RETAIN, ON_FEW = "relearning-retain", "relearning-few"
HALVINGS = 6


class Relearning(Probe):
    """The forget error along steps of fine-tuning, beside the retrained model's."""

    name: ClassVar[str] = "relearning"
    question: ClassVar[str] = "Do the forgotten images come back when training goes on?"
    summary: ClassVar[str] = "forget error along fine-tuning on retain images, and on a few forget images"
    source: ClassVar[str] = "relearning attacks: Hu et al. 2024, arXiv:2406.13356; Golatkar et al., CVPR 2020"
    figures: ClassVar[tuple[str, ...]] = (ON_RETAIN, ON_FEW)
    cost: ClassVar[Cost] = "training"

    steps: int = Field(
        50, ge=1, description="steps of fine-tuning, measured after 1/32, 1/16, ..., all of them"
    )
    shots: int = Field(4, ge=1, description="forget images that are shown again; the others are measured")
    images: int = Field(64, ge=1, description="at most so many forget images are measured")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; default: the run's own")

    def run(self, subject: Subject) -> Findings:
        forget = subject.sets["forget"]
        if subject.has("retain"):
            found = self._relearn(subject, ON_RETAIN, subject.sets["retain"], forget)
        else:
            found = unmeasured(self, subject, (ON_RETAIN,), "there are no retain images")
        shots, others = self.shots_of(subject)
        if len(others):
            return found.join(self._relearn(subject, ON_FEW, shots, others))
        return found.join(unmeasured(self, subject, (ON_FEW,), "it takes two different forget images"))

    def shots_of(self, subject: Subject) -> tuple[ImageSet, ImageSet]:
        """The forget images that are shown again, and the others; at most half of them are shown."""
        from efface.probes.passes_training import some_of

        forget = subject.sets["forget"]
        count = max(1, min(self.shots, len(set(forget.ids)) // 2))
        shots = some_of(forget, count, subject, "shots")
        return shots, forget.without(shots.ids)

    def checkpoints(self) -> tuple[int, ...]:
        """Steps after which errors are measured: none, and halves of halves of all."""
        return (0, *sorted({max(1, round(self.steps / 2**halving)) for halving in range(HALVINGS)}))

    def _relearn(self, subject: Subject, figure: str, seen: ImageSet, forget: ImageSet) -> Findings:
        from efface.probes.passes_training import some_of

        measured = some_of(forget, self.images, subject, figure)
        errors = {model: self._errors(subject, model, figure, seen, measured) for model in subject.models}
        steps = tuple(float(step) for step in self.checkpoints())
        curves = tuple(
            Curve(self.name, figure, model, "steps", steps, tuple(np.exp(values.mean(axis=0)).tolist()))
            for model, values in errors.items()
        )
        if "retrained" not in errors:
            why = "there is no retrained model to compare the curves with"
            return unmeasured(self, subject, (figure,), why).join(Findings(curves=curves))
        scores = {
            model: {"forget": np.stack([values, errors["retrained"]], axis=-1)}
            for model, values in errors.items()
        }
        found = judged(self.name, figure, scores, greatest_lead, subject, unit="nats", goal="low")
        return Findings(tuple(found), curves)

    def _errors(
        self, subject: Subject, name: ModelName, figure: str, seen: ImageSet, measured: ImageSet
    ) -> Values:
        """Log errors `[images, checkpoints]` of a copy that is fine-tuned on `seen`."""
        from efface.probes.passes_training import copy_of, log_errors, train

        model, found = copy_of(subject.models[name]), []
        found.append(log_errors(model, measured, subject))
        train(
            model,
            seen,
            subject,
            figure,
            steps=self.steps,
            learning_rate=self.learning_rate,
            after=self.checkpoints(),
            measure=lambda: found.append(log_errors(model, measured, subject)),
        )
        return np.stack(found, axis=1)


def greatest_lead(scores: Scores) -> float:
    """Largest lead over the reference at one checkpoint, from log errors `[images, checkpoints, (own, reference)]`.

    >>> round(greatest_lead({"forget": np.log([[[2.0, 1.0], [0.5, 1.0]]])}), 4)
    0.6931
    """
    lead = scores["forget"][..., 1] - scores["forget"][..., 0]
    return float(lead.mean(axis=0).max())
