"""`random-encoder`: forget features are drawn to Gaussian noise in feature space.

Follows: the baseline "Random Encoder" of Li et al., ICLR 2024 (arXiv 2402.00351): the encoder alone is
trained; retain features are held to the original's, forget features drawn to a Gaussian with the scalar mean
and deviation of the original's features (`encoder-noise` differs: it takes the features *of* noise).
Deviations: the sign error of the released VQ-GAN version is not reproduced; retain and forget images come in equal
numbers. Moments are those of everything that the released teacher sees: one pair for each feature map.
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
    deviations: ClassVar[str] = "balanced batches"
    deviations_of: ClassVar[Mapping[str, str]] = {"mage": "the sign error of the release is not reproduced"}
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        import torch

        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            taught = student.encode(retain.join(student.taught_view(forget)))
        count, targets = len(retain), []
        for number, kept in enumerate(one.float() for one in taught):
            mean = batch.mean_over_processes(kept.mean())
            variance = batch.mean_over_processes((kept - mean).square().mean())
            deviation = (variance * kept.numel() / (kept.numel() - 1)).sqrt()
            draws = forget.draws.normal(f"features {number}", tuple(kept.shape[1:]), kept.device)
            targets.append(torch.cat([kept[:count], draws * deviation + mean]))
        features = student.encode(retain.join(forget))
        distance = feature_distance(features, tuple(targets), self.norm)
        return weighted(distance[:count].mean(), distance[count:].mean(), self.alpha)
