"""`epsilon-constrained`: retain as well as possible while forgetting is as complete as the user asks.

Follows: Feng et al., "Controllable Unlearning for Image-to-Image Generative Models via epsilon-Constrained Optimization",
ICLR 2025 (arXiv 2408.01689): phase I finds the range of the constraint's bound, phase II relaxes the bound step by step
and so walks the Pareto path. The pseudocode is known to us in part only; the step is the dynamic barrier of Gong, Liu
and Liu, "Bi-objective Trade-off with Dynamic Barrier Gradient Descent", NeurIPS 2021, which fits what is known.
Deviations: the control function's form is our choice; AdamW takes the direction in place of plain descent; the other
boundary is not trained, as the original itself retains perfectly; objectives are those of encoder-noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from efface.generators.families import NoiseKind
from efface.methods.base import NORM, GeneratorMethod, Norm
from efface.methods.generator.bargaining import (
    LEAST,
    Products,
    Stateless,
    apart,
    forget_objective,
    mixed,
    noise_objectives,
)
from efface.training.phases import Batch, Keep, Loss, Phase, Training

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

DECAY = 0.9
"""Of the running mean over steps that says where forgetting alone ends."""


class EpsilonConstrained(GeneratorMethod):
    """Minimise the retain objective subject to: forget objective <= epsilon.

    Phase I minimises the forget objective alone, from the original on: its first value and its last running mean are
    the bound's range. Phase II starts there and relaxes the bound to the chosen completeness.
    """

    completeness: float = Field(
        0.5,
        ge=0,
        le=1,
        description="how completely is forgotten: 1 as if forgetting alone counted, 0 hardly",
    )
    path: int = Field(
        0,
        ge=0,
        le=100,
        description="models on the way from completeness 1 to the chosen one that are kept as further results",
    )
    rate: float = Field(10.0, gt=0, description="how firmly the forget objective is brought to its bound")
    boundary: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the steps for phase I; the points of phase II share the rest evenly",
    )
    noise: NoiseKind = Field(
        "standard-normal", description="what the teacher sees in place of a forget image"
    )
    norm: Norm = NORM

    name: ClassVar[str] = "epsilon-constrained"
    summary: ClassVar[str] = "best retaining at a chosen completeness of forgetting (ICLR 2025)"
    source: ClassVar[str] = "Feng et al., ICLR 2025, arXiv 2408.01689; Gong et al., NeurIPS 2021"
    deviations: ClassVar[str] = "control function and boundary search are ours where the paper is not known"
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True

    @model_validator(mode="after")
    def _there_is_a_path(self) -> Self:
        if self.path and self.completeness == 1:
            raise ValueError("path: with completeness 1 there is none to walk; choose less, or path: 0")
        return self

    def phases(self) -> list[Phase]:
        boundaries = Boundaries()
        first: list[Phase] = [
            Training(
                "complete boundary",
                self.forget_alone,
                ("forget",),
                self.trains,
                True,
                share=self.boundary,
                combine=boundaries,
            )
        ]
        share = (1 - self.boundary) / (self.path + 1)
        for number, completeness in enumerate(self.points(), start=1):
            first += [
                self._point(f"point {number}", Barrier(boundaries, completeness, self.rate), share),
                Keep(f"point-{number}-completeness-{completeness:.3f}"),
            ]
        return [
            *first,
            self._point("chosen point", Barrier(boundaries, self.completeness, self.rate), share),
        ]

    def points(self) -> list[float]:
        """Completeness at the points of the path before the chosen one."""
        return [1 - (1 - self.completeness) * number / self.path for number in range(self.path)]

    def forget_alone(self, student: Generator, batch: Batch) -> Loss:
        """The loss of phase I."""
        forget = forget_objective(student, batch, self.noise, self.norm)
        return Loss(forget, {"forget": forget.detach()}, {"forget": forget})

    def loss(self, student: Generator, batch: Batch) -> Loss:
        """The loss of phase II."""
        return apart(*noise_objectives(student, batch, self.noise, self.norm))

    def _point(self, name: str, barrier: Barrier, share: float) -> Training:
        return Training(
            name, self.loss, ("retain", "forget"), self.trains, True, share=share, combine=barrier
        )


class Boundaries:
    """Descends the forget objective alone and remembers where it began and ended: the bound's range.

    least: its value in the first step, that of the original, which retains perfectly. complete: its running mean.
    """

    def __init__(self) -> None:
        self.least, self.complete, self.steps = 0.0, 0.0, 0

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        value = values["forget"].item()
        if self.steps == 0:
            self.least = self.complete = value
        decay = min(DECAY, (1 + self.steps) / (10 + self.steps))
        self.complete = decay * self.complete + (1 - decay) * value
        self.steps += 1
        return gradients["forget"], {}

    def state(self) -> dict[str, float]:
        return {"least": self.least, "complete": self.complete, "steps": self.steps}

    def load_state(self, state: Mapping[str, float]) -> None:
        self.least, self.complete = state.get("least", 0.0), state.get("complete", 0.0)
        self.steps = int(state.get("steps", 0))

    def epsilon(self, completeness: float) -> float:
        """The bound of a completeness: `least` at 0, `complete` at 1."""
        return self.least + completeness * (self.complete - self.least)


@dataclass
class Barrier(Stateless):
    """The retain gradient, with as much of the forget gradient as keeps the forget objective at its bound."""

    boundaries: Boundaries
    completeness: float
    rate: float

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        found = Products.of(gradients["retain"], gradients["forget"])
        epsilon = self.boundaries.epsilon(self.completeness)
        width = max(self.boundaries.least - self.boundaries.complete, LEAST)
        scale = found.forget.sqrt() * found.forget.maximum(found.retain).sqrt()
        psi = control(values["forget"], epsilon, width, self.rate, scale)
        weight = barrier_weight(psi, found.both, found.forget)
        direction = mixed(gradients["retain"], gradients["forget"], weight.new_ones(()), weight)
        numbers = {"lambda": weight, "epsilon": weight.new_full((), epsilon)}
        return direction, {**found.numbers(), **numbers}


def control(forget: Tensor, epsilon: float, width: float, rate: float, scale: Tensor) -> Tensor:
    """The control function psi: `rate * min((forget - epsilon) / width, 1) * scale`.

    The excess over the bound is counted in widths of the bound's range, and the whole in gradients, with the scale
    |g_f| max(|g_f|, |g_r|), so that `rate` has no unit and lambda |g_f| stays within (rate + 1) of the larger
    gradient. It is negative inside the bound and not cut off there: the forget objective may then rise to its bound,
    without which relaxing the bound would change nothing.
    """
    return rate * ((forget - epsilon) / width).clamp(max=1) * scale


def barrier_weight(psi: Tensor, both: Tensor, square: Tensor) -> Tensor:
    """lambda = max(0, (psi - <g_r, g_f>) / |g_f|^2), the least for which <g_r + lambda g_f, g_f> >= psi."""
    return ((psi - both) / square.clamp(min=LEAST)).clamp(min=0)
