"""Is a forgotten image recognised again after a tiny change of the input?

Each forget image is given with a few grey levels of noise, moved by one pixel, and mirrored. `re-recognition` is the
least error among these answers over the unperturbed one's: does a change that nobody sees undo the forgetting?
`residual-knowledge` is the reference's least error over the model's: does it come closer to the image than a model that
never saw it? The second is the question of Hsu et al. (NeurIPS 2025), whose unlearned classifiers recognise slightly
perturbed forget images more often than a retrained one does, r = Pr[m(x') = y] / Pr[a(x') = y] > 1. A model that answers
with noise, and with an ordinary guess once perturbed, fails the first alone.

Deviations: they count correct labels over random perturbations in a ball; a generator has no labels, so its hole error
takes their place, and the best of the perturbations that of a probability. Of classifiers both are given: the odds
against an image's class as the error, and `perturbed-accuracy`, the share of correct labels, whose difference to the
retrained model's takes the place of their ratio, which has no value for a model that recognises none. The minimum over
several is below 1 for every model by chance; the reference is given the very same perturbations.

It cannot show that a perturbation found by a search would not bring the image back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged, mean
from efface.probes.findings import Findings, Goal, Hit
from efface.probes.subject import LOG_ERROR, WRONG, AnySubject, Change, Share, Values

if TYPE_CHECKING:
    from torch import Tensor

    from efface.randomness import Draws

FIGURE, KNOWLEDGE, ACCURACY = "re-recognition", "residual-knowledge", "perturbed-accuracy"
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))


class Perturbation(Probe):
    """The smallest error over small perturbations, over the unperturbed one."""

    draws: int = Field(8, ge=0, description="perturbations by noise")
    levels: float = Field(
        4.0, gt=0, le=32, description="standard deviation of the noise in grey levels of 255"
    )
    shifts: bool = Field(True, description="move the picture by one pixel, each way once, as well")
    mirror: bool = Field(True, description="mirror the picture as well")

    name: ClassVar[str] = "perturbation"
    question: ClassVar[str] = "Is a forgotten image recognised again after a tiny change of the input?"
    summary: ClassVar[str] = "smallest error over small perturbations of forget images"
    source: ClassVar[str] = "Hsu et al., NeurIPS 2025 (residual knowledge)"
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {
        "generator": (FIGURE, KNOWLEDGE),
        "classifier": (FIGURE, KNOWLEDGE, ACCURACY),
    }
    goals: ClassVar[Mapping[str, Goal]] = {KNOWLEDGE: "low", ACCURACY: "low"}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below", KNOWLEDGE: "above", ACCURACY: "above"}

    def run(self, subject: AnySubject) -> Findings:
        changes = self._changes()
        if not changes:
            return self.unanswered(subject, "it has no perturbation to try")
        images = subject.photos("forget")
        least: dict[ModelName, Values] = {}
        right: dict[ModelName, list[Values]] = {model: [] for model in subject.models}
        for number, change in enumerate(changes):
            name = f"perturbation {number + 1} of {len(changes)}"
            for model, errors in subject.changed_errors(images, change, name=name).items():
                values = errors[LOG_ERROR]
                least[model] = np.minimum(least.get(model, values), values)
                if WRONG in errors:
                    right[model].append(1 - errors[WRONG])
        before = {model: subject.evaluated(model, "forget")[LOG_ERROR] for model in subject.models}
        drops = {model: least[model] - before[model] for model in least}
        note = f"best of {len(changes)} perturbations; below 1 by chance for every model"
        findings = judged(self.name, FIGURE, _scores(drops), geometric, subject, note=note)
        findings = findings.join(self._accuracies(right, subject))
        if not subject.reference:
            return findings.join(self.unmeasured(subject, (KNOWLEDGE,), "there is no reference model"))
        known = {model: least[subject.reference] - values for model, values in least.items()}
        note = f"beside the {subject.reference} model's best of {len(changes)} perturbations"
        findings = findings.join(
            judged(
                self.name,
                KNOWLEDGE,
                _scores(known),
                geometric,
                subject,
                goal=self.goals[KNOWLEDGE],
                note=note,
            )
        )
        return findings.join(Findings(hits=self._hits(subject, images.ids, drops)))

    def _accuracies(self, right: dict[ModelName, list[Values]], subject: AnySubject) -> Findings:
        """The share of right answers over all perturbations, of models that can be right."""
        scores: dict[ModelName, Scores] = {
            model: {"forget": np.stack(answers, axis=1)} for model, answers in right.items() if answers
        }
        if not scores:
            return Findings()
        return judged(
            self.name, ACCURACY, scores, mean("forget"), subject, goal=self.goals[ACCURACY], share=Share()
        )

    def _hits(
        self, subject: AnySubject, ids: tuple[str, ...], drops: dict[ModelName, Values]
    ) -> tuple[Hit, ...]:
        """Images that come back most, relative to the reference."""
        if "unlearned" not in drops or subject.reference is None:
            return ()
        mine, beside = drops["unlearned"], drops[subject.reference]
        worst = [place for place in np.argsort(mine - beside, kind="stable") if mine[place] < beside[place]]
        return tuple(
            Hit(
                self.name,
                FIGURE,
                "forget",
                "image",
                ids[place],
                float(np.exp(mine[place])),
                float(np.exp(beside[place])),
            )
            for place in worst[: subject.settings.worst]
        )

    def _changes(self) -> list[Change]:
        noisy = [_noise(number, self.levels / 255) for number in range(self.draws)]
        return noisy + [_shift(*step) for step in SHIFTS if self.shifts] + [_mirrored] * self.mirror


def geometric(scores: Scores) -> float:
    """Geometric mean of ratios, given as logarithms of `forget`."""
    return float(np.exp(scores["forget"].mean()))


def _scores(ratios: dict[ModelName, Values]) -> dict[ModelName, Scores]:
    return {model: {"forget": values} for model, values in ratios.items()}


def _noise(number: int, spread: float) -> Change:
    """Noise on what is given; what should be restored is the picture without it."""

    def change(pictures: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        noise = draws.normal(f"perturbation {number}", tuple(pictures.shape[1:]), pictures.device)
        return (pictures + spread * noise).clamp(0, 1), pictures

    return change


def _mirrored(pictures: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """The picture as in a mirror, which training with mirrored crops has shown as often."""
    turned = pictures.flip(3)
    return turned, turned


def _shift(down: int, right: int) -> Change:
    """The picture moved, its border repeated; what should be restored has moved as well."""

    def change(pictures: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        from torch.nn.functional import pad

        height, width = pictures.shape[2:]
        around = pad(pictures, (1, 1, 1, 1), mode="replicate")
        moved = around[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        return moved, moved

    return change
