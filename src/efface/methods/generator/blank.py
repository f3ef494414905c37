"""`blank`: the encoder learns to see a bland picture where a forgotten image is.

Follows: ours. The reviewers of Li et al., ICLR 2024, asked for a target that completes the background, since noise in
the hole betrays who was forgotten; SUGAR (arXiv 2512.06562) rejects unrealistic outputs for the same reason and
learns a plausible surrogate. Here the surrogate is the image itself made bland: nothing is learnt for it.
Deviations: none; the form of the loss is that of Li et al., Eq. (10), with another target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.corruptions.base import mean_fill
from efface.corruptions.degradations import gaussian
from efface.methods.base import NORM, Norm, OneLossMethod, feature_distance, weighted
from efface.methods.generator.further_views import further_view, shown
from efface.training.phases import Batch, Loss

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

Bland = Literal["blurred", "flat"]


class Blank(OneLossMethod):
    """Hold retain features to the original's; draw forget features to the original's of a bland picture.

    L_R = |E(x_r) - E_0(x_r)|, L_F = |E(x_f) - E_0(b(x_f))| with b the image made bland from what is visible of it.
    The teacher sees every retain image and every bland picture once, the student every image once.
    """

    alpha: float = Field(0.25, ge=0, description="weight of forgetting against retaining")
    bland: Bland = Field(
        "blurred",
        description="blurred: hole filled with the mean colour of what is visible, then a strong blur; "
        "flat: that mean colour everywhere",
    )
    blur: float = Field(
        0.1, ge=0.02, le=0.25, description="standard deviation of the blur, as share of the side"
    )
    norm: Norm = NORM

    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0.02, 1.0)}
    name: ClassVar[str] = "blank"
    summary: ClassVar[str] = "encoder drawn to the original's features of a bland picture on forget images"
    source: ClassVar[str] = "ours; asked for by reviewers of arXiv 2402.00351, cf. SUGAR, arXiv 2512.06562"
    deviations: ClassVar[str] = "none: the method is ours"
    needs_teacher: ClassVar[bool] = True

    def loss(self, student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        picture = bland_picture(*shown(forget), self.bland, self.blur)
        blank = further_view(student, batch.corruption, forget, picture, picture)
        with student.teacher():
            targets = student.encode(retain.join(blank))
        features = student.encode(retain.join(forget))
        distance = feature_distance(features, targets, self.norm)
        return weighted(distance[: len(retain)].mean(), distance[len(retain) :].mean(), self.alpha)


def bland_picture(pictures: Tensor, visible: Tensor, bland: Bland, blur: float) -> Tensor:
    """`pictures` `[B, 3, H, W]` in [0, 1] made bland from their `visible` pixels alone, bool `[B, 1, H, W]`.

    blur: standard deviation of the blur as share of the side; `flat` has none.
    """
    filled = mean_fill(pictures, visible)
    if bland == "blurred":
        return gaussian(filled, blur * filled.shape[-1])
    seen = visible.to(filled.dtype)
    mean = (filled * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return mean.expand_as(filled).contiguous()
