"""What can be done to a model: an edit of its weights, training on a loss over named streams, or keeping it.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from efface.corruptions import Corruption, parse_corruption

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, PixelMoments, Trained, View
    from efface.generators.families import NoiseKind
    from efface.training.settings import TrainingSettings


CENTRE = parse_corruption("centre:0.5")
"""The corruption of a run that says nothing else."""


def alone(value: Tensor) -> Tensor:
    """The mean over processes where there is one."""
    return value


@dataclass(frozen=True)
class Batch:
    """What a loss is given: one view for each of its streams, and the forget set's pixel moments.

    mean_over_processes: what a quantity of the whole batch is reduced with; shares are of equal size.
    corruption: the step's. `student.view(pixels, batch.corruption, view.draws)` shows other pixels with the
    very same mask.
    """

    views: Mapping[str, View]
    moments: PixelMoments
    mean_over_processes: Callable[[Tensor], Tensor] = alone
    corruption: Corruption = CENTRE

    def moments_for(self, kind: NoiseKind) -> PixelMoments:
        """What noise of this kind is made with: for `batch-matched` one mean and deviation of all pixels of the batch."""
        if kind != "batch-matched":
            return self.moments
        import torch

        pixels = torch.cat([view.images for view in self.views.values()])
        mean = self.mean_over_processes(pixels.mean())
        variance = self.mean_over_processes((pixels - mean).square().mean())
        deviation = (variance * pixels.numel() / (pixels.numel() - 1)).sqrt()
        return replace(self.moments, mean=mean.expand(3), std=deviation.expand(3))


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, and its named parts for the log.

    objectives: scalars with a graph, whose gradients a phase that combines them takes one by one; `total` is then
    for the log alone. numbers: further ones for the log and for `Training.until`, without a graph.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    objectives: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


LossFunction = Callable[["Generator", Batch], Loss]


class Combiner(Protocol):
    """Makes one update direction of the gradients of several objectives.

    It may carry plain numbers from step to step, and from phase to phase where several share it: they are part of
    every checkpoint, and set back where steps are only timed. `load_state({})` makes it as new.
    """

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        """The direction, which is descended as a gradient is, and numbers for the log.

        gradients: for each objective those of the trained parameters, in their order, in the parameters' types and
        averaged over processes. Changing the lists as it goes spares it the memory of another gradient; the tensors
        themselves stay as they are. values: the objectives, averaged too.
        """

    def state(self) -> dict[str, float]:
        """What must live on."""

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` gave."""


@dataclass(frozen=True)
class EditPhase:
    """A phase that changes the weights at once: `apply(generator, seed)`."""

    name: str
    apply: Callable[[Generator, int], None]


@dataclass(frozen=True)
class Training:
    """A phase that minimises `loss` over named data streams.

    trained: which weights it changes; needs_teacher: whether its loss asks the frozen original.
    settings: its own training settings in place of the run's. fresh: whether it trains fresh weights, so that running
    statistics of batch normalisation are learnt too, which unlearning leaves as they are.
    share: how much of the settings' steps, or of a budget, it takes; phases whose shares make 1 take what one
    phase would.
    combine: how the gradients of the loss's objectives become one direction; None for the gradient of its total.
    until: given the loss's parts and numbers after a step, means over processes, whether the phase is at its end;
    the settings' steps are the upper bound. It must depend on nothing else, or a resumed run would differ.
    A phase that trains a first stage is passed over on a model that has none.
    """

    name: str
    loss: LossFunction
    streams: tuple[str, ...]
    trained: Trained
    needs_teacher: bool = False
    settings: TrainingSettings | None = None
    share: float = 1.0
    combine: Combiner | None = None
    until: Callable[[Mapping[str, float]], bool] | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Keep:
    """A phase that has the present model kept as a further result, under `name`, where the run keeps such."""

    name: str


Phase = EditPhase | Training | Keep
