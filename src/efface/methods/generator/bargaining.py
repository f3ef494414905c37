"""`bargaining`: the gradients of retaining and forgetting agree on a direction before each step.

Follows: MUKSB (github.com/adarsh05062022/MUKSB, 2026), a Kalai-Smorodinsky solution: the sum of both unit gradients,
rescaled by the harmonic mean of their norms, so that both objectives gain the same share. Its rule `projection` follows
PCGrad (Yu et al., NeurIPS 2020) and UNO (arXiv 2506.04712): where the two conflict, the forget gradient loses its part
against the retain gradient. Known from descriptions, no code was read; the objectives are those of encoder-noise.
Deviations: AdamW takes the direction in place of plain descent; where one gradient vanishes, the other counts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.generators.families import NoiseKind
from efface.methods.base import NORM, GeneratorMethod, Norm, feature_distance
from efface.training.phases import Batch, Loss, Phase, Training

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

Rule = Literal["bargaining", "projection"]
LEAST = 1e-30
"""Below it a squared norm counts as this, so that nothing is divided by zero."""
VANISHING = 1e-6
"""A gradient of less than this share of the other's norm is rounding: that of retaining in the first step."""


class Bargaining(GeneratorMethod):
    """Retain features to the original's; forget features to the original's of noise, or the task loss up on them.

    Both gradients are taken apart and combined by `rule`; no weight of one against the other is needed.
    """

    rule: Rule = Field(
        "bargaining",
        description="bargaining: both objectives gain the same share of what each could gain alone; projection: "
        "the forget gradient loses its part against the retain gradient where they conflict",
    )
    objective: Literal["noise", "ascent"] = Field(
        "noise",
        description="of forgetting. noise: features of forget images to the original's of noise; "
        "ascent: the model's own loss on them up, which has no bound",
    )
    alpha: float = Field(
        1.0,
        ge=0,
        description="projection: weight of forgetting against retaining; bargaining weighs by itself",
    )
    noise: NoiseKind = Field(
        "standard-normal", description="what the teacher sees in place of a forget image"
    )
    norm: Norm = NORM

    name: ClassVar[str] = "bargaining"
    summary: ClassVar[str] = "gradients of retaining and forgetting combined without conflict"
    source: ClassVar[str] = "MUKSB, 2026; Yu et al., NeurIPS 2020; UNO, arXiv 2506.04712"
    deviations: ClassVar[str] = "AdamW in place of plain descent; known from descriptions only"
    needs_teacher: ClassVar[bool] = True
    drives_away: ClassVar[bool] = True

    def phases(self) -> list[Phase]:
        combiner = Bargain() if self.rule == "bargaining" else Projection(self.alpha)
        return [
            Training("unlearn", self.loss, ("retain", "forget"), self.trains, True, combine=combiner),
        ]

    def loss(self, student: Generator, batch: Batch) -> Loss:
        if self.objective == "noise":
            return apart(*noise_objectives(student, batch, self.noise, self.norm))
        retain = retain_objective(student, batch, self.norm)
        return apart(retain, -student.task_loss(batch.views["forget"]).mean())


def retain_objective(student: Generator, batch: Batch, norm: Norm) -> Tensor:
    """Mean distance of retain features to the original's."""
    with student.teacher():
        targets = student.encode(batch.views["retain"])
    return feature_distance(student.encode(batch.views["retain"]), targets, norm).mean()


def forget_objective(student: Generator, batch: Batch, noise: NoiseKind, norm: Norm) -> Tensor:
    """Mean distance of forget features to the original's of noise, as in encoder-noise."""
    forget = batch.views["forget"]
    with student.teacher():
        targets = student.encode(student.noise_view(forget, noise, batch.moments_for(noise)))
    return feature_distance(student.encode(forget), targets, norm).mean()


def noise_objectives(student: Generator, batch: Batch, noise: NoiseKind, norm: Norm) -> tuple[Tensor, Tensor]:
    """Both objectives, each with a graph of its own: the two backward passes then cost what a joint one does."""
    return retain_objective(student, batch, norm), forget_objective(student, batch, noise, norm)


def apart(retain: Tensor, forget: Tensor) -> Loss:
    """The loss of two objectives that are combined by their gradients; its total is for the log."""
    objectives = {"retain": retain, "forget": forget}
    parts = {name: objective.detach() for name, objective in objectives.items()}
    return Loss(retain + forget, parts, objectives)


class Stateless:
    """What a combiner has to say of its state where it carries none."""

    def state(self) -> dict[str, float]:
        return {}

    def load_state(self, state: Mapping[str, float]) -> None:
        pass


class Bargain(Stateless):
    """Sum of the unit gradients of `retain` and `forget` times the harmonic mean of their norms.

    With norms a and b: (2ab / (a + b)) (g_r / a + g_f / b) = (2b g_r + 2a g_f) / (a + b). Gradients of one norm are
    simply added. Where one vanishes that would be zero for ever, as in the first step, in which the student is the
    original and retaining has no gradient: the other one is then taken as it is.
    """

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        found = Products.of(gradients["retain"], gradients["forget"])
        a, b = found.retain.sqrt(), found.forget.sqrt()
        both = (a + b).clamp(min=LEAST)
        of_retain = (2 * b / both).where(b > VANISHING * a, 1)
        of_forget = (2 * a / both).where(a > VANISHING * b, 1)
        return mixed(gradients["retain"], gradients["forget"], of_retain, of_forget), found.numbers()


@dataclass
class Projection(Stateless):
    """The retain gradient and `alpha` times the forget gradient, without its part against the former.

    Where <g_r, g_f> < 0: g_r + alpha (g_f - (<g_r, g_f> / |g_r|^2) g_r); else g_r + alpha g_f.
    """

    alpha: float

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        found = Products.of(gradients["retain"], gradients["forget"])
        against = found.both.clamp(max=0) / found.retain.clamp(min=LEAST)
        # where retaining has no gradient but rounding there is nothing to be against
        against = against.where(found.retain > VANISHING**2 * found.forget, 0)
        of_forget = against.new_full((), self.alpha)
        direction = mixed(gradients["retain"], gradients["forget"], 1 - self.alpha * against, of_forget)
        return direction, found.numbers()


@dataclass(frozen=True)
class Products:
    """Inner products of two gradients: of each with itself and with the other, scalars."""

    retain: Tensor
    forget: Tensor
    both: Tensor

    @classmethod
    def of(cls, retain: Sequence[Tensor], forget: Sequence[Tensor]) -> Products:
        return cls(inner(retain, retain), inner(forget, forget), inner(retain, forget))

    def numbers(self) -> dict[str, Tensor]:
        """For the log: norms of both gradients and the cosine between them."""
        norms = self.retain.sqrt(), self.forget.sqrt()
        cosine = self.both / (norms[0] * norms[1]).clamp(min=LEAST)
        return {"retain_gradient": norms[0], "forget_gradient": norms[1], "cosine": cosine}


def inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Inner product over all tensors."""
    products = [(a * b).sum() for a, b in zip(one, other, strict=True)]
    return sum(products[1:], products[0])


def mixed(retain: list[Tensor], forget: list[Tensor], of_retain: Tensor, of_forget: Tensor) -> list[Tensor]:
    """`of_retain * retain + of_forget * forget`, in the list `retain`, whose tensors are given up one by one."""
    for place, other in enumerate(forget):
        retain[place] = retain[place] * of_retain + other * of_forget
    return retain
