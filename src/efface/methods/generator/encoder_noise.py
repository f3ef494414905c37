"""`encoder-noise`: the encoder learns to see noise where a forgotten image is.

Follows: Li, Hsu, Chen, Marculescu, "Machine Unlearning for Image-to-Image Generative Models", ICLR 2024
(arXiv 2402.00351), Eq. (10) and Figure 2; facts of the released code were consulted, none of it is used.
Deviations: forget and retain images come in equal numbers in every batch (released: one shuffled loader);
the teacher is in evaluation mode; the first setting of `noise` is N(0, I), as in the paper's appendix (released:
`batch-matched` for tokens, N(0, I) in the hole for diffusion).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.generators.families import NoiseKind
from efface.methods.base import NORM, Norm, OneLossMethod, feature_distance, weighted
from efface.methods.generator.early import keep_as_shadow
from efface.training.phases import Batch, Loss, Phase

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator


class EncoderNoise(OneLossMethod):
    """Hold retain features to the original's; draw forget features to the original's of noise.

    L_R = |E(x_r) - E_0(x_r)|, L_F = |E(x_f) - E_0(n)|, minimise L_R + alpha * L_F over the encoder alone.
    The teacher sees every retain image and every noise image once, the student every image once. With `target: base`,
    L_F = |E(x_f) - E_b(x_f)| with the encoder E_b of the base; drawn to an answer of its own, it drives nothing away.
    """

    alpha: float = Field(
        0.25, ge=0, description="weight of forgetting against retaining (released: 0.1 to 0.25)"
    )
    noise: NoiseKind = Field(
        "standard-normal", description="what the teacher sees in place of a forget image"
    )
    norm: Norm = NORM
    target: Literal["noise", "base"] = Field(
        "noise",
        description="whose features forget images are drawn to. noise: the original's of noise, as published; base: those "
        "of the same image in the base from which the model was trained on, which never saw it; `noise` is then not used",
    )

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "encoder-noise"
    summary: ClassVar[str] = "encoder drawn to the original's features of noise on forget images (ICLR 2024)"
    source: ClassVar[str] = "Li et al., ICLR 2024, arXiv 2402.00351, Eq. (10)"
    deviations: ClassVar[str] = "balanced batches"
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True

    @property
    def asks_base(self) -> bool:
        return self.target == "base"

    def phases_from(self, base: Generator) -> list[Phase]:
        return [keep_as_shadow(base), *self.phases()]

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        targets = self._targets(student, batch)
        features = student.encode(retain.join(forget))
        distance = feature_distance(features, targets, self.norm)
        return weighted(distance[: len(retain)].mean(), distance[len(retain) :].mean(), self.alpha)

    def _targets(self, student: Generator, batch: Batch) -> tuple[Tensor, ...]:
        """Features to be drawn to, of the retain images and then of the forget images."""
        retain, forget = batch.views["retain"], batch.views["forget"]
        if self.target == "noise":
            noise = student.noise_view(forget, self.noise, batch.moments_for(self.noise))
            with student.teacher():
                return student.encode(retain.join(noise))
        with student.teacher():
            kept = student.encode(retain)
        with student.shadow():
            unseen = student.encode(forget)
        import torch

        return tuple(torch.cat(pair) for pair in zip(kept, unseen, strict=True))
