"""`retrain`: the reference. Fresh weights, trained without the forget images.

Follows: the definition of exact unlearning (Cao and Yang, S&P 2015; Bourtoule et al., S&P 2021): a model that
never saw the data. It is exact only if the retain images are all that it sees, and if no part of it was
trained on the forget images: no pre-trained stage, no proxy images. Deviations: none known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from efface.methods.base import ClaimLevel, Method
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.training.phases import Edit, Phase, Training

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class Retrain(Method):
    """Re-initialise, then train on retain images alone with the model's own loss and corruption."""

    name: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "fresh weights trained on retain images only: the reference for all others"
    source: ClassVar[str] = "Cao and Yang, S&P 2015; Bourtoule et al., S&P 2021"
    needs_forget: ClassVar[bool] = False
    trains: ClassVar[Trained] = "all"
    claim: ClassVar[ClaimLevel] = "exact"
    recommended: ClassVar[dict[str, Any]] = {"steps": 20000, "learning_rate": 6e-4}

    def phases(self) -> list[Phase]:
        return [
            Edit("re-initialise", _reinitialise),
            Training("retrain", task_loss_on_retain, ("retain",), "all", False, corruption="own"),
        ]


def _reinitialise(generator: Generator, seed: int) -> None:
    generator.reinitialise(seed)
