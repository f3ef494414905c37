"""What a probe questions: models of one kind with their images, and what can be done with them.

A probe speaks of errors, whatever the kind: numbers above 0, larger where a model answers an image worse. Of a generator
it is the squared error in the hole, of a classifier the odds against the image's class. Probes read their logarithms.
What the kinds do differently stands in `GeneratorSubject` and `ClassifierSubject`. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import MeasuringSettings
from efface.metrics.base import ModelKind
from efface.progress import Progress
from efface.randomness import numpy_draws

if TYPE_CHECKING:
    from torch import Tensor, nn

    from efface.evaluation.protocol import Evaluation
    from efface.probes.trigger import Trigger
    from efface.randomness import Draws

Values = npt.NDArray[np.float64]
Change = Callable[["Tensor", "Draws"], tuple["Tensor", "Tensor"]]
"""Of pictures `[B, C, H, W]` in [0, 1]: what a model is given in their place, and what a generator should restore."""


class Images(Protocol):
    """What image sets of all kinds have; entries with one id are one photo."""

    @property
    def ids(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def subset(self, places: Any, /) -> Self: ...


class Network(Protocol):
    """What models of all kinds have."""

    network: nn.Module

    def weights_digest(self) -> str: ...


ModelT = TypeVar("ModelT", bound=Network)
ImagesT = TypeVar("ImagesT", bound=Images)


@dataclass(frozen=True)
class Share:
    """What a figure is that counts images: a share of them, from 0, or a difference of two shares, from -1, each to 1.

    images: on which it rests; None: those of its smallest group of scores. known: the model whose figure is 0 by its
    meaning, since others are compared with it image by image.
    """

    low: Literal[-1, 0] = 0
    images: int | None = None
    known: ModelName | None = None


@dataclass(frozen=True)
class ErrorKind:
    """A way to say how badly a model answers an image: one number for each, larger is worse.

    suffix: of the names of figures made of it. unit: of its differences. is_log: whether it is the logarithm of an error,
    else it is 0 or 1.
    """

    suffix: str
    unit: str
    is_log: bool

    def named(self, figure: str) -> str:
        """The name of a figure that is made of it.

        >>> WRONG.named("neighbour-error"), LOG_ERROR.named("neighbour-error")
        ('neighbour-accuracy', 'neighbour-error')
        """
        return figure.removesuffix("-error") + self.suffix if self.suffix else figure

    def of_means(self, means: Values) -> Values:
        """As curves show means: errors, or shares of images that are answered rightly."""
        return np.exp(means) if self.is_log else 1 - means

    def of_difference(self, difference: float) -> float:
        """As figures show a mean difference: a ratio of errors, or a share of images."""
        return float(np.exp(difference)) if self.is_log else difference

    def share(self, images: int | None = None, known: ModelName | None = None) -> Share | None:
        """What a mean difference is, where it counts images."""
        return None if self.is_log else Share(-1, images, known)


LOG_ERROR = ErrorKind("", "nats", is_log=True)
WRONG = ErrorKind("-accuracy", "share of images", is_log=False)
"""1 where a classifier names another class than the image's, else 0."""
Errors = Mapping[ErrorKind, Values]


@dataclass(frozen=True, kw_only=True)
class Subject(ABC, Generic[ModelT, ImagesT]):
    """The models, the images, and what the evaluation measured of them.

    seed: of every draw of the probes. yardstick: a second retrained model, which the evaluation does not measure. Models
    are in evaluation mode, and must be left with the weights that they have.
    """

    kind: ClassVar[ModelKind]
    measures: ClassVar[tuple[ErrorKind, ...]]
    trigger_share: ClassVar[Share | None] = None
    """What the mean of `triggered` is, where doing what was planted is a yes or no."""

    models: Mapping[ModelName, ModelT]
    sets: Mapping[SetName, ImagesT]
    settings: MeasuringSettings
    evaluation: Evaluation
    seed: int = 0
    progress: Progress = field(default_factory=Progress)
    yardstick: ModelT | None = None

    @property
    def reference(self) -> ModelName | None:
        """The model beside which the unlearned one is put."""
        return next((name for name in ("retrained", "original") if name in self.models), None)

    @property
    def questioned(self) -> ModelName:
        """The model that is in question: the unlearned one where there is one."""
        return "unlearned" if "unlearned" in self.models else "original"

    def has(self, *names: SetName) -> bool:
        """Whether these sets hold images."""
        return all(name in self.sets and len(self.sets[name]) > 0 for name in names)

    def photos(self, name: SetName) -> ImagesT:
        """The images of a set, each photo once."""
        images = self.sets[name]
        return images.subset(once(images))

    def some_of(self, images: ImagesT, count: int, purpose: str) -> ImagesT:
        """At most `count` of the photos, drawn by the seed and `purpose`, in their order, each once."""
        images = images.subset(once(images))
        if len(images) <= count:
            return images
        places = numpy_draws(self.seed, "probe images", purpose).permutation(len(images))[:count]
        return images.subset(sorted(places.tolist()))

    @abstractmethod
    def digest(self) -> str:
        """sha256 of all that a probe's answer follows from, beside its own settings."""

    @abstractmethod
    def classes(self, images: ImagesT) -> list[str | None]:
        """The name of each image's class, None where it has none."""

    @abstractmethod
    def features(self, name: SetName) -> Values:
        """By which photos of a set are like each other, `[photos, features]`; no unlearned model has a part in them."""

    @abstractmethod
    def evaluated(self, model: ModelName, name: SetName) -> Errors:
        """What the evaluation measured on each photo of a set, `[photos]`."""

    @abstractmethod
    def evaluated_views(self, model: ModelName, name: SetName) -> Errors:
        """The same of each view, `[photos, views]`."""

    @abstractmethod
    def confidence(self, model: ModelName, name: SetName) -> Values:
        """What an attacker takes as a sign of membership, `[photos]`: larger for images that the model answers better."""

    @abstractmethod
    def errors(self, model: ModelT, images: ImagesT, *, bf16: bool | None = None) -> Errors:
        """How a model answers, `[images]`. bf16: whether forward passes are cast; None: as in the evaluation."""

    @abstractmethod
    def changed_errors(self, images: ImagesT, change: Change, *, name: str) -> Mapping[ModelName, Errors]:
        """How every model answers changed images, `[images]`; the same change for all. name: for the progress."""

    @abstractmethod
    def trigger_refusal(self, trigger: Trigger) -> str | None:
        """Why the models cannot be shown this trigger."""

    @abstractmethod
    def triggered(self, model: ModelT, images: ImagesT, trigger: Trigger) -> Values:
        """How far a model does what was planted, `[images, (with, without the trigger)]`; nan where it is not seen."""

    @abstractmethod
    def copy_of(self, model: ModelT) -> ModelT:
        """A copy with weights of its own, in evaluation mode."""

    @abstractmethod
    def train(
        self,
        model: ModelT,
        images: ImagesT,
        purpose: str,
        *,
        steps: int,
        learning_rate: float | None = None,
        after: Collection[int] = (),
        measure: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on with the model's own training on `images`, in place; hand it a copy.

        All models are trained on the same batches: draws depend on the seed and `purpose` alone. learning_rate: of the run
        by default, as all other settings. `measure` is called after each of the steps `after`, the model being in
        evaluation mode.
        """


AnySubject = Subject[Any, Any]


def once(images: Images) -> list[int]:
    """The place of the first entry of each photo."""
    first = {id_: place for place, id_ in reversed(list(enumerate(images.ids)))}
    return sorted(first.values())


def without(images: ImagesT, ids: Iterable[str]) -> ImagesT:
    """All images but those with these ids."""
    left_out = set(ids)
    return images.subset([place for place, id_ in enumerate(images.ids) if id_ not in left_out])
