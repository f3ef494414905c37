"""`random-encoder`: forget features are drawn to Gaussian noise in feature space.

Follows: the baseline "Random Encoder" of Li et al., ICLR 2024 (arXiv 2402.00351): the encoder alone is
trained; retain features are held to the original's, forget features drawn to a Gaussian with the scalar mean
and deviation of the original's features (`encoder-noise` differs: it takes the features *of* noise).
Deviations: the sign error of the released VQ-GAN version is not reproduced; moments are those of the
original's retain features of the batch, one pair for each feature map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.base import NORM, Norm, OneLossMethod, feature_distance, weighted
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from efface.generators.base import Generator


class RandomEncoder(OneLossMethod):
    """Hold retain features to the original's; draw forget features to Gaussian noise."""

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    norm: Norm = NORM

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "random-encoder"
    summary: ClassVar[str] = "encoder drawn to Gaussian noise in feature space on forget images"
    source: ClassVar[str] = "baseline of Li et al., ICLR 2024, arXiv 2402.00351"
    deviations: ClassVar[str] = "the sign error of the released VQ-GAN version is not reproduced"
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            retain_targets = student.encode(retain)
        features = student.encode(retain.join(forget))
        count = len(retain)
        noise = []
        for number, target in enumerate(retain_targets):
            mean = batch.mean_over_processes(target.float().mean())
            variance = batch.mean_over_processes(target.float().square().mean()) - mean.square()
            draws = forget.draws.normal(f"features {number}", tuple(target.shape[1:]), target.device)
            noise.append(draws * variance.sqrt() + mean)
        held = feature_distance(tuple(f[:count] for f in features), retain_targets, self.norm)
        drawn = feature_distance(tuple(f[count:] for f in features), tuple(noise), self.norm)
        return weighted(held.mean(), drawn.mean(), self.alpha)
