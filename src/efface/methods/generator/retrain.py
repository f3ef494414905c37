"""`retrain`: the reference. Fresh weights, trained without the forget images.

Follows: the definition of exact unlearning (Cao and Yang, S&P 2015; Bourtoule et al., S&P 2021): a model that
never saw the data. It is exact only if the retain images are all that it sees, and if no part of it was
trained on the forget images: no kept first stage, no proxy images. Of a model that was trained on from a base, the
base's weights stand in the place of fresh ones. Deviations: none known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue

from efface.methods.base import ClaimLevel, GeneratorMethod
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.training.phases import Batch, EditPhase, Loss, Phase, Training
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class Retrain(GeneratorMethod):
    """Re-initialise, then train on retain images alone with the model's own loss and corruption."""

    first_stage: Literal["train", "keep"] = Field(
        "train",
        description="whether a tokenizer or VAE is trained anew as well; a kept one may hold forgotten images; a base's is "
        "always kept",
    )

    name: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "fresh weights trained on retain images only: the reference for all others"
    source: ClassVar[str] = "Cao and Yang, S&P 2015; Bourtoule et al., S&P 2021"
    needs_forget: ClassVar[bool] = False
    begins_anew: ClassVar[bool] = True
    trains: ClassVar[Trained] = "all"
    claim: ClassVar[ClaimLevel] = "exact"
    recommended: ClassVar[dict[str, JsonValue]] = {"steps": 20000, "learning_rate": 6e-4}

    def phases(self) -> list[Phase]:
        return [EditPhase("re-initialise", self._reinitialise), *from_scratch(self.first_stage == "train")]

    def phases_from(self, base: Generator) -> list[Phase]:
        """A base's first stage stays as it is."""
        first = EditPhase("take weights of base", lambda generator, seed: generator.take_weights(base))
        return [first, *from_scratch(with_first_stage=False)]

    def _reinitialise(self, generator: Generator, seed: int) -> None:
        generator.reinitialise(seed, keep_first_stage=self.first_stage == "keep")


def from_scratch(with_first_stage: bool, first_stage: TrainingSettings | None = None) -> list[Training]:
    """The phases that train fresh weights; `first_stage` are that phase's own settings."""
    main = Training("train", task_loss_on_retain, ("retain",), "all", fresh=True)
    if not with_first_stage:
        return [main]
    stage = Training("train first stage", _first_stage_loss, ("retain",), "first-stage", settings=first_stage)
    return [stage, main]


def _first_stage_loss(student: Generator, batch: Batch) -> Loss:
    loss = student.first_stage_loss(batch.views["retain"]).mean()
    return Loss(loss, {"retain": loss.detach()})
