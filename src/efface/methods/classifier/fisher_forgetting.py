"""`fisher-forgetting`: Gaussian noise on each weight, the more the less the retain images need it. No training.

Follows: Golatkar, Achille and Soatto, "Eternal Sunshine of the Spotless Net" (CVPR 2020, arXiv:1911.04933), with what
its published code adds: 1 / F at most 1e3 (1e2 in the last layer), averaged over the inputs of each unit, and ten times
as much variance in the last layer and in weights with one axis (those of batch normalisation).
Deviations: alpha is the 1e-6 that later comparisons take. The code treats a forgotten class apart when told so; here
the classes that are in the forget set alone are: their rows of the last layer are drawn around 0. The last layer is the
classifier's head, in the code any tensor whose first axis has as many entries as there are classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.importance import expected_fisher
from efface.training.passes import Edit, Facts, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.training.classification import Work

LEAST_FISHER = 1e-8
CLASS_VARIANCE = 1e-4
"""Of the rows of a wholly forgotten class in the last layer, before `boost`."""


class FisherForgetting(ClassifierMethod):
    """Drown in noise what the retain images do not hold fast."""

    alpha: float = Field(
        1e-6, gt=0, description="variance of the noise times the Fisher information of the weight"
    )
    cap: float = Field(1e3, gt=0, description="largest inverse Fisher information of a weight")
    head_cap: float = Field(1e2, gt=0, description="the same in the last layer")
    boost: float = Field(
        10.0, gt=0, description="factor of the variance in the last layer and in one-axis weights"
    )
    images: int | None = Field(
        None, ge=1, description="retain images for the Fisher information; all if left out"
    )

    name: ClassVar[str] = "fisher-forgetting"
    summary: ClassVar[str] = "noise on each weight, the more the less the retain images need it"
    source: ClassVar[str] = "Golatkar et al., CVPR 2020, arXiv:1911.04933"
    deviations: ClassVar[str] = (
        "alpha 1e-6 of later comparisons; classes in the forget set alone are found, not named; the last layer is the head"
    )
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (1e-9, 1e-4)}

    def passes(self, facts: Facts) -> Passes:
        return [Edit("noise", self.add_noise)]

    def add_noise(self, work: Work) -> None:
        """Draw each weight from N(weight, variance)."""
        import torch

        fisher = expected_fisher(work, "retain", self.images)
        head = work.model.parameters_of(work.model.blocks[-1:])
        gone = sorted({*work.sets["forget"].labels.tolist()} - {*work.sets["retain"].labels.tolist()})
        for name, weight in work.model.network.named_parameters():
            variance = self.variance(fisher[name], name in head)
            if name in head and gone:
                weight[gone] = 0.0
                variance[gone] = CLASS_VARIANCE * self.boost
            noise = torch.randn(weight.shape, generator=work.draws("noise", name), device=weight.device)
            weight.add_(variance.sqrt() * noise)

    def variance(self, fisher: Tensor, in_head: bool) -> Tensor:
        """Variance of the noise on a tensor of weights with this Fisher information."""
        inverse = (1 / (fisher + LEAST_FISHER)).clamp(max=self.cap)
        if in_head:
            inverse = inverse.clamp(max=self.head_cap)
        if inverse.ndim > 1:
            inverse = inverse.mean(1, keepdim=True).expand_as(inverse)
        return self.alpha * inverse * (self.boost if in_head or inverse.ndim == 1 else 1.0)
