"""`shrink-perturb`: draw the weights towards fresh ones, then train on retain images.

Follows: shrink and perturb (Ash and Adams, NeurIPS 2020, arXiv 1910.08475), there against a warm start that
generalises badly; winners of the NeurIPS 2023 unlearning competition reset parts of a classifier in the same spirit
before they trained it further. Deviations: interpolation with freshly initialised weights in place of Gaussian noise
(as in Schwarzer et al., ICML 2023, arXiv 2305.19452), so that each layer's perturbation has its own scale; once, before
the training, where theirs is repeated as data arrive. Its use on generators is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, JsonValue

from efface.methods.base import GeneratorMethod
from efface.methods.generator.retrain import from_scratch
from efface.randomness import key
from efface.training.phases import EditPhase, Phase

if TYPE_CHECKING:
    from efface.generators.base import Generator, Trained


class ShrinkPerturb(GeneratorMethod):
    """theta = keep * theta_0 + (1 - keep) * theta_fresh; then minimise the task loss on retain images.

    theta_fresh is the base, where the model was trained on from one.
    """

    keep: float = Field(
        0.4,
        ge=0,
        le=1,
        description="share of the original's weights: 1 is fine-tuning, 0 retraining (first stage kept)",
    )

    name: ClassVar[str] = "shrink-perturb"
    summary: ClassVar[str] = (
        "weights drawn towards fresh ones, then training on retain images only; whole model"
    )
    source: ClassVar[str] = "Ash and Adams, NeurIPS 2020, arXiv 1910.08475; on generators: ours"
    deviations: ClassVar[str] = "fresh initial weights in place of Gaussian noise, once before the training"
    needs_forget: ClassVar[bool] = False
    begins_anew: ClassVar[bool] = True
    trains: ClassVar[Trained] = "all"
    recommended: ClassVar[dict[str, JsonValue]] = {"steps": 5000, "learning_rate": 6e-4}

    def phases(self) -> list[Phase]:
        # not the seed itself: a retrained model of this seed starts from its weights
        return self._phases(
            lambda generator, seed: generator.reinitialise(key("shrink-perturb", seed), keep_first_stage=True)
        )

    def phases_from(self, base: Generator) -> list[Phase]:
        """The weights are drawn towards the base's in the place of fresh ones."""
        return self._phases(lambda generator, seed: generator.take_weights(base))

    def _phases(self, begin: Callable[[Generator, int], None]) -> list[Phase]:
        """begin: puts the weights in place that the original's are drawn to."""

        def mix(generator: Generator, seed: int) -> None:
            original = {name: one.data.clone() for name, one in generator.trained_parameters("all").items()}
            begin(generator, seed)
            for name, weights in generator.trained_parameters("all").items():
                weights.data.lerp_(original[name], self.keep)

        return [EditPhase("shrink and perturb", mix), *from_scratch(with_first_stage=False)]
