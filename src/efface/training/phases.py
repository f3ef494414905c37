"""What can be done to a model: an edit of its weights, or training on a loss over named streams.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, Moments, Trained, View
    from efface.training.settings import TrainingSettings


def alone(value: Tensor) -> Tensor:
    """The mean over processes where there is one."""
    return value


@dataclass(frozen=True)
class Batch:
    """What a loss is given: one view for each of its streams, and the forget set's pixel moments.

    mean_over_processes: what a quantity of the whole batch is reduced with; shares are of equal size.
    """

    views: Mapping[str, View]
    moments: Moments
    mean_over_processes: Callable[[Tensor], Tensor] = alone


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, and its named parts for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


LossFunction = Callable[["Generator", Batch], Loss]


@dataclass(frozen=True)
class Edit:
    """A phase that changes the weights at once: `apply(generator, seed)`."""

    name: str
    apply: Callable[[Generator, int], None]


@dataclass(frozen=True)
class Training:
    """A phase that minimises `loss` over named data streams.

    trained: which weights it changes; needs_teacher: whether its loss asks the frozen original.
    corruption: `asked` is the run's corruption, `own` the one that the model was pre-trained with.
    settings: its own training settings in place of the run's.
    A phase that trains a first stage is passed over on a model that has none.
    """

    name: str
    loss: LossFunction
    streams: tuple[str, ...]
    trained: Trained
    needs_teacher: bool = False
    corruption: Literal["asked", "own"] = "asked"
    settings: TrainingSettings | None = None


Phase = Edit | Training
