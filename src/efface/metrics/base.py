"""What a metric is: how it is called, what is better, what it reads, and how it is computed. Imports no torch.

A metric of generators gives one value for each restored picture (`ImageMetric`) or one figure of a whole set
(`SetMetric`); one of classifiers gives a value for each image (`ClassifierMetric`), but for a trained attack
(`AttackMetric`). What is better differs by set. On retain and neutral images a metric has its usual direction. On forget
images neither the best nor the worst number is the goal: the model that was retrained without them is, so the direction
there is `match_retrained`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efface.metrics.inputs import MetricInputError
from efface.metrics.intervals import Interval, Resampling
from efface.settings import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

ModelKind = Literal["generator", "classifier"]
Better = Literal["up", "down"]
Direction = Literal["up", "down", "match_retrained"]
Need = Literal["truth", "region", "samples", "features", "probabilities", "labels", "neutral", "retrained"]
Floats = NDArray[np.float64]

SETS = ("retain", "neutral", "forget")
KNOWS = ("knows the images more surely", "knows the images less surely")
"""What is said of a model by an attack on it."""


@dataclass(frozen=True)
class Yardstick:
    """How a page speaks of a run by this metric, where it is the first that was measured on forget images.

    as_ratio: whether two models stand to each other as a ratio, else as a
    difference. caution: what is to be said of a verdict by this metric.
    """

    as_ratio: bool = False
    caution: str | None = None


class Metric(ABC):
    """One metric: its traits, which every list, table and page is made from."""

    name: ClassVar[str]
    """As in results; its card is `docs/metrics/NAME.md`."""
    short: ClassVar[str]
    """As behind the set in a requirement, such as `error` in `retain-error<=1.02x`."""
    title: ClassVar[str]
    """The heading of its card and of its line in a table."""
    label: ClassVar[str]
    """The heading of a narrow column."""
    phrase: ClassVar[str]
    """How it is called within a sentence."""
    summary: ClassVar[str]
    unit: ClassVar[str]
    least: ClassVar[float] = -inf
    most: ClassVar[float] = inf
    """The ends of its range."""
    better: ClassVar[Better | None]
    """On images that the model should treat well; of an attack, of a model that still knows the images. None: neither."""
    requires: ClassVar[tuple[Need, ...]]
    """What it reads beside the answers: the true images, the region that was hidden, several answers to each view, vectors
    or class probabilities of a feature extractor; of a classifier labels, neutral images, or the retrained model's
    answers, of which it then is a distance and has the same direction on every set."""
    of: ClassVar[ModelKind]
    """Which models have it."""
    has_interval: ClassVar[bool] = True
    """Whether its figures have intervals, without which no requirement can be judged."""
    ratio: ClassVar[bool] = False
    """Whether one model's mean over another's means anything."""
    by_image: ClassVar[bool] = False
    """Whether single images are compared by it."""
    yardstick: ClassVar[Yardstick | None] = None
    """How a page speaks by it; None where none does."""
    decides: ClassVar[bool] = False
    """Whether the verdict may be given by it: it is by the first such metric that was measured."""
    comparison: ClassVar[tuple[str, str] | None] = None
    """What a model does that has a better value, and a worse one; None for what the kind of model says."""
    published: ClassVar[str | None] = None
    """Its name on the published Inception network, which no other extractor may claim."""

    @classmethod
    def direction(cls, image_set: str) -> Direction:
        """The better direction on `image_set`: "retain", "neutral" or "forget".

        Raises `MetricInputError` for any other name.
        """
        if image_set not in SETS:
            raise MetricInputError(unknown_name("image set", image_set, SETS))
        matched = image_set == "forget" and "retrained" not in cls.requires
        return "match_retrained" if matched or cls.better is None else cls.better


@dataclass(frozen=True)
class Restored:
    """One batch of restored views and what they are compared with.

    pictures, truth: `[B, 3, H, W]` in [0, 1]; region: what was hidden, bool `[B, 1, H, W]`. features, true_features: of
    the extractor, `[B, dimension]`; similarity, true_similarity: of the one that likeness of content is taken with, which
    may be the same. samples: all answers `[K, B, 3, H, W]` of a model that draws several, `pictures` being the first.
    """

    pictures: Tensor
    truth: Tensor
    region: Tensor
    features: Tensor
    true_features: Tensor
    similarity: Tensor
    true_similarity: Tensor
    samples: Tensor | None = None
    _known: dict[str, Tensor] = field(default_factory=dict)

    def of(self, metric: type[ImageMetric]) -> Tensor:
        """The metric's values `[B]`, computed once, however many metrics read them."""
        if metric.name not in self._known:
            values = metric().compute(self)
            if values.shape != (len(self.pictures),):
                raise MetricInputError(
                    f"metric {metric.name} must give one value for each of {len(self.pictures)} pictures, got "
                    f"{list(values.shape)}"
                )
            self._known[metric.name] = values
        return self._known[metric.name]


class ImageMetric(Metric):
    """A metric of generators with one value for each restored picture, the mean over the samples of each view."""

    of: ClassVar[ModelKind] = "generator"
    by_similarity: ClassVar[bool] = False
    """Whether it reads the features of the extractor that likeness of content is taken with."""

    @abstractmethod
    def compute(self, restored: Restored) -> Tensor:
        """One value for each picture `[B]`, finite, from `least` to `most`."""


class Measured(NamedTuple):
    """A figure of a whole set with its interval, and what is to be said of it, such as why there is none."""

    value: float | None
    interval: Interval | None = None
    note: str | None = None


@dataclass(frozen=True)
class RestoredSet:
    """What is known of all restored views of a set.

    features, truth: of the extractor, `[views, dimension]`. photos: the source photo of each view, `[views]`: views of one
    are no independent evidence. images: how many images there are. probabilities: what the extractor takes the pictures
    for, `[views, classes]`; None of one that does not classify. seed: of any draw. resampling: how intervals are made;
    None for no interval.
    """

    features: Floats
    truth: Floats
    photos: NDArray[np.int64]
    images: int
    probabilities: NDArray[np.float32] | None
    seed: int
    resampling: Resampling | None


class SetMetric(Metric):
    """A metric of generators with one figure of a whole set of restored pictures."""

    of: ClassVar[ModelKind] = "generator"

    @abstractmethod
    def distance(self, restored: RestoredSet) -> Measured:
        """The figure, from `least` to `most`, with its interval where there is one."""


@dataclass(frozen=True)
class Classified:
    """What a classifier answers on a set, and what its answers are compared with.

    logits: `[images, classes]`, finite; labels: `[images]`. retrained: logits of the retrained model on the same images.
    neutral: the model's logits on images that it never saw, and their labels. The last two are None where there are none.
    """

    logits: Floats
    labels: NDArray[np.int64]
    retrained: Floats | None = None
    neutral: tuple[Floats, NDArray[np.int64]] | None = None


class ClassifierMetric(Metric):
    """A metric of classifiers with one value for each image."""

    of: ClassVar[ModelKind] = "classifier"

    @abstractmethod
    def compute(self, answers: Classified) -> Floats:
        """One value for each image `[images]`, finite, from `least` to `most`. What it `requires` is there."""


class AttackMetric(Metric):
    """A metric of classifiers that is the share of forget images in which a trained attack sees something."""

    of: ClassVar[ModelKind] = "classifier"

    @abstractmethod
    def attack(self, answers: Mapping[str, tuple[Floats, NDArray[np.int64]]], seed: int) -> float:
        """The share, from the model's logits `[images, classes]` and labels on `retain`, `neutral` and `forget`."""
