"""What would codes of the whole picture recall?

A tokenizer or a VAE sees beyond the place of one code, so the codes that a hole leaves visible change with the hidden
pixels. An evaluation fills the hole first, as must whoever has only the visible pixels. Here the model is given what
stays visible of the codes of the whole picture, and draws the rest: the best case of an attacker who holds such codes,
and the only question that reaches what a model learnt from them, as released `mage` models did under their own masks.
The figure is the mean error on forget images over that on neutral ones, which are told as much of what is hidden.

It cannot show what a model recalls from visible pixels alone, which is what most attackers have: other probes ask that.
A ratio below 1 beside a retrained one that is as low is no memory, but images that are easier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged, ratio_of_means
from efface.probes.findings import Findings

if TYPE_CHECKING:
    from efface.probes.generator_subject import GeneratorSubject

FIGURE = "whole-picture"
SETS: tuple[SetName, ...] = ("forget", "neutral")


class WholePicture(Probe):
    """Forget error over neutral error, restored from visible codes of the whole picture."""

    name: ClassVar[str] = FIGURE
    question: ClassVar[str] = "What would codes of the whole picture recall?"
    summary: ClassVar[str] = (
        "forget error over neutral error, from visible codes that have seen what is hidden"
    )
    source: ClassVar[str] = "ours; codes of whole pictures are what Li et al., CVPR 2023, train on"
    needs: ClassVar[tuple[SetName, ...]] = SETS
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,)}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "below"}

    def run(self, subject: GeneratorSubject) -> Findings:
        if not subject.codes_see_beyond():
            return self.unanswered(subject, "no visible code of these models depends on hidden pixels")
        scores: dict[ModelName, Scores] = {
            model: {
                name: np.exp(subject.log_errors(network, subject.photos(name), whole_picture=True))
                for name in SETS
            }
            for model, network in subject.models.items()
        }
        return judged(self.name, FIGURE, scores, ratio_of_means(*SETS), subject)
