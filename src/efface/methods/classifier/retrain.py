"""`retrain`: fresh weights, trained by the original's recipe on the retain images alone.

Follows: the reference of every unlearning work; recipe as published for the competition (arXiv:2406.09073).
Of a model that was trained on from a base, the base's weights stand in the place of fresh ones. Deviations: none known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from efface.methods.base import ClaimLevel
from efface.methods.classifier.base import ClassifierMethod
from efface.training.passes import Edit, Facts, Passes, training_pass

if TYPE_CHECKING:
    from efface.training.classification import Work


class RetrainClassifier(ClassifierMethod):
    """Forget everything, and learn the retain images anew."""

    name: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "fresh weights, trained on the retain images alone: the exact reference"
    source: ClassVar[str] = "the reference of the competition, arXiv:2406.09073"
    needs_forget: ClassVar[bool] = False
    begins_anew: ClassVar[bool] = True
    claim: ClassVar[ClaimLevel] = "exact"
    reads_recipe: ClassVar[bool] = True

    def passes(self, facts: Facts) -> Passes:
        return [Edit("fresh weights", self.renew), training_pass(facts.recipe, "retain")]

    def renew(self, work: Work) -> None:
        """Draw all weights anew, or take the base's."""
        work.begin_anew()
