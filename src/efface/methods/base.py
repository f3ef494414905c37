"""What a method is: typed settings, declared traits, and what it does, laid down as a list.

A method for generators gives resumable phases; one for classifiers (`methods.classifier.base`) edits and passes.

A method's class is the section of the config file, the command line's help and the record's entry at
once, so method files do not import torch: their losses only call tensors' own methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue

from efface.settings import Settings
from efface.training.phases import Batch, Loss, Phase, Training
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, Trained

ClaimLevel = Literal["exact", "empirical"]
Kind = Literal["generator", "classifier"]


class Method(Settings, ABC):
    """One way to unlearn: its settings, and the traits that hold for every kind of model."""

    kind: ClassVar[Kind]
    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    """The paper and equation that it follows."""
    deviations: ClassVar[str] = "none known"
    """How it departs from its source on every model."""
    deviations_of: ClassVar[Mapping[str, str]] = {}
    """How it departs besides on models of single families."""
    needs_retain: ClassVar[bool] = True
    """Whether it cannot run without retain (or proxy retain) images."""
    needs_forget: ClassVar[bool] = True
    """Whether it uses the forget images themselves; they must be named in any case."""
    deterministic: ClassVar[bool] = False
    """Whether the result does not depend on the unlearning seed."""
    drives_away: ClassVar[bool] = False
    """Whether it drives the model away from the forget images, rather than towards one that never saw them."""
    begins_anew: ClassVar[bool] = False
    """Whether it begins with fresh weights, in whose place those of a base stand where one is named."""
    claim: ClassVar[ClaimLevel] = "empirical"
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """For tuning: settings and the range in which each is searched, on a logarithmic scale."""

    @property
    def asks_base(self) -> bool:
        """Whether it asks, with these settings, the base from which the model was trained on."""
        return False

    @classmethod
    def deviations_on(cls, family: str | None) -> str:
        """How it departs from its source on models of a family; of classifiers there is none."""
        own = cls.deviations_of.get(family or "")
        return f"{cls.deviations}; {own}" if own else cls.deviations


class GeneratorMethod(Method):
    """A method for generators. Subclasses declare their traits and give `phases`."""

    kind: ClassVar[Kind] = "generator"
    trains: ClassVar[Trained] = "encoder"
    recommended: ClassVar[Mapping[str, JsonValue]] = {}
    """Training settings that differ from the defaults of `TrainingSettings`."""

    @abstractmethod
    def phases(self) -> list[Phase]:
        """What is done, in order."""

    def phases_from(self, base: Generator) -> list[Phase]:
        """The same for a model that was trained on from `base`, which has its family and shape."""
        return self.phases()

    @classmethod
    def training_settings(cls, chosen: Mapping[str, JsonValue]) -> TrainingSettings:
        """The recommended training settings with the user's own in their place."""
        return TrainingSettings.read({**cls.recommended, **chosen}, where="training")


def phases_of(method: GeneratorMethod, base: Generator | None) -> list[Phase]:
    """What a method does, from a base where there is one."""
    return method.phases() if base is None else method.phases_from(base)


class OneLossMethod(GeneratorMethod):
    """A method that is one phase with one loss: most are."""

    streams: ClassVar[tuple[str, ...]] = ("retain", "forget")
    needs_teacher: ClassVar[bool] = False

    @abstractmethod
    def loss(self, student: Generator, batch: Batch) -> Loss:
        """The loss of one step; `batch.views` holds a view for each of `streams`."""

    def phases(self) -> list[Phase]:
        return [Training("unlearn", self.loss, self.streams, self.trains, self.needs_teacher)]


Hold = Literal["original", "task"]
HOLD: Hold = Field(
    "original",
    description="how retain images are kept. original: as the original answers them; task: by the model's own training "
    "loss, which also learns them further",
)
"""The setting of methods that leave the choice."""
Norm = Literal["mse", "l2"]
NORM: Norm = Field(
    "mse",
    description="distance of features. mse: mean of squares, as released; l2: the norm printed in the paper",
)
"""The setting of methods that measure it."""


def weighted(retain: Tensor, forget: Tensor, alpha: float) -> Loss:
    """`retain + alpha * forget`, Eq. (10) of the paper, with both parts kept for the log."""
    return Loss(retain + alpha * forget, {"retain": retain.detach(), "forget": forget.detach()})


def feature_distance(features: tuple[Tensor, ...], targets: tuple[Tensor, ...], norm: Norm) -> Tensor:
    """Distance of two tuples of feature maps `[B, ...]` for each image, `[B]`, summed over the maps.

    norm: `mse`, the mean of squares of the released code, or `l2`, the plain norm that the paper prints.
    """
    distances = []
    for feature, target in zip(features, targets, strict=True):
        squares = (feature.float() - target.float()).square().flatten(1)
        distances.append(squares.mean(dim=1) if norm == "mse" else squares.sum(dim=1).sqrt())
    return sum(distances[1:], distances[0])
