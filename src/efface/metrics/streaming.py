"""Metrics that are fed batch by batch and merge across processes.

Each class is a `torchmetrics.Metric`: `update` on every process, `compute` gathers what all processes
hold and gives the same result on each. Without a process group, `merge_state` joins two of them. What
is summed and what is concatenated is declared with each state. A sampler that repeats images to make
shards equal must be told not to, except for `PerImageScores`, which counts an image once.

Names of images and photos travel as 64-bit integers, for example `efface.randomness.key("photo", id)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from efface.metrics.frechet import Moments, frechet_of_moments
from efface.metrics.intervals import Interval
from efface.metrics.kernel import kernel_distance, kernel_distance_interval
from efface.metrics.refusal import MetricInputError


class PerImage(NamedTuple):
    """One number per image, in order of the image names, each image once."""

    images: NDArray[np.int64]
    values: NDArray[np.float64]
    groups: NDArray[np.int64]


class _Collecting(Metric):
    """A metric with lists of tensors as states that survives a process without any image."""

    full_state_update = False
    empty: dict[str, Tensor]

    def _collect(self, name: str, like: Tensor) -> None:
        """Declare the state `name`, concatenated across processes; `like` [0, ...] has its type."""
        self.add_state(name, default=[], dist_reduce_fx="cat")
        self.empty = {**getattr(self, "empty", {}), name: like}

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As `Metric.sync`; a list that is empty here is sent as an empty tensor of the right type."""
        for name, like in self.empty.items():
            if isinstance(held := getattr(self, name), list) and not held:
                held.append(like.to(self.device))
        super().sync(*args, **kwargs)

    def _gathered(self, name: str) -> NDArray[Any]:
        held = getattr(self, name)
        tensor = self.empty[name] if isinstance(held, list) and not held else dim_zero_cat(held)
        return np.asarray(tensor.cpu().numpy())


class PerImageScores(_Collecting):
    """Collects a per-image metric, such as `hole_mse`, with the names of images and source photos.

    scores = PerImageScores(hole_mse)
    scores.update(restored, truth, region, images=keys, groups=photos)
    values = scores.compute()
    bootstrap_mean(values.values, values.groups)
    """

    def __init__(self, score: Callable[..., Tensor], **options: Any) -> None:
        super().__init__(**options)
        self.score = score
        self._collect("values", torch.zeros(0, dtype=torch.float64))
        self._collect("images", torch.zeros(0, dtype=torch.int64))
        self._collect("groups", torch.zeros(0, dtype=torch.int64))

    def update(self, *inputs: Tensor, images: Tensor, groups: Tensor | None = None) -> None:
        """Score a batch. `images` [B] int64 names each image, `groups` [B] int64 its source photo.

        Without `groups` every image is a photo of its own.
        """
        values = self.score(*inputs)
        groups = images if groups is None else groups
        if not values.shape == images.shape == groups.shape:
            raise MetricInputError(
                f"images and groups must name each of the {len(values)} images of the batch, got "
                f"{list(images.shape)} and {list(groups.shape)}"
            )
        for name, batch in (("values", values.double()), ("images", images), ("groups", groups)):
            getattr(self, name).append(batch.detach().to(self.device))

    def compute(self) -> PerImage:
        """All scores of all processes."""
        images, first = np.unique(self._gathered("images"), return_index=True)
        return PerImage(images, self._gathered("values")[first], self._gathered("groups")[first])


class FrechetDistance(Metric):
    """`frechet_distance` from sums, in memory that does not grow with the number of images.

    Raw sums in float64: exact to about 1e-12 of the squared mean of a feature.
    """

    full_state_update = False

    def __init__(self, dimension: int, **options: Any) -> None:
        super().__init__(**options)
        self.dimension = dimension
        for side in ("reference", "other"):
            for name, shape in (("count", ()), ("sum", (dimension,)), ("outer", (dimension, dimension))):
                zero = torch.zeros(shape, dtype=torch.float64)
                self.add_state(f"{side}_{name}", default=zero, dist_reduce_fx="sum")

    def update(self, features: Tensor, *, reference: bool) -> None:
        """Add `features` [B, dimension], finite, to the reference (true) images or to the others."""
        values = _checked(features, self.dimension).to(self.device).double()
        side = "reference" if reference else "other"
        for name, addition in (("count", len(values)), ("sum", values.sum(0)), ("outer", values.T @ values)):
            setattr(self, f"{side}_{name}", getattr(self, f"{side}_{name}") + addition)

    def compute(self) -> float:
        """The squared distance; `MetricInputError` with fewer than 2 x dimension images on a side."""
        return frechet_of_moments(self._moments("reference"), self._moments("other"))

    def _moments(self, side: str) -> Moments:
        count, total, outer = (
            getattr(self, f"{side}_{name}").cpu().numpy() for name in ("count", "sum", "outer")
        )
        mean = total / max(float(count), 1.0)
        return Moments(int(count), mean, (outer - count * np.outer(mean, mean)) / max(float(count) - 1, 1.0))


class KernelDistance(_Collecting):
    """`kernel_distance` and its interval; keeps the feature vectors (not images) of all updates."""

    def __init__(
        self,
        dimension: int,
        *,
        confidence: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.dimension = dimension
        self.confidence, self.resamples, self.seed = confidence, resamples, seed
        for side in ("reference", "other"):
            self._collect(f"{side}_features", torch.zeros(0, dimension))
            self._collect(f"{side}_groups", torch.zeros(0, dtype=torch.int64))

    def update(self, features: Tensor, *, reference: bool, groups: Tensor) -> None:
        """Add `features` [B, dimension], finite, of images from the photos `groups` [B] int64.

        A photo that has images on both sides has one name for both.
        """
        values = _checked(features, self.dimension)
        if groups.shape != values.shape[:1]:
            raise MetricInputError(
                f"groups must name the photo of each of {len(values)} images, got {list(groups.shape)}"
            )
        side = "reference" if reference else "other"
        getattr(self, f"{side}_features").append(values.float().to(self.device))
        getattr(self, f"{side}_groups").append(groups.to(self.device))

    def compute(self) -> tuple[float, Interval | None]:
        """The distance, and its interval from five photos on each side on."""
        a, b = self._gathered("reference_features"), self._gathered("other_features")
        groups = self._gathered("reference_groups"), self._gathered("other_groups")
        interval = kernel_distance_interval(
            a, b, *groups, confidence=self.confidence, resamples=self.resamples, seed=self.seed
        )
        return kernel_distance(a, b, *groups), interval


def _checked(features: Tensor, dimension: int) -> Tensor:
    if features.ndim != 2 or features.shape[1] != dimension:
        raise MetricInputError(f"features must be [images, {dimension}], got {list(features.shape)}")
    if not bool(features.isfinite().all()):
        raise MetricInputError("features hold values that are not finite")
    return features.detach()
