"""What every row of figures is made of, whatever the kind of model: a mean over photos, its interval, a distance."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from efface.evaluation.results import ModelName, Row, SetName
from efface.metrics.base import Metric
from efface.metrics.intervals import FEWEST_GROUPS, Interval, Resampling, bootstrap_means

Values = npt.NDArray[np.float64]
Photos = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """The numbers of one row; None what there is not, such as reference and distance without a reference."""

    value: float | None
    interval: Interval | None = None
    reference_value: float | None = None
    distance: float | None = None
    distance_interval: Interval | None = None
    note: str | None = None

    def row(
        self,
        model: ModelName,
        set_name: SetName,
        metric: type[Metric],
        reference: ModelName | None,
        *,
        n: int,
        seed: int,
        crops: int = 1,
        corruption: str = "none",
        sampler: str | None = None,
        extractor: str | None = None,
        samples: int = 1,
        crop_scale: str | None = None,
    ) -> Row:
        """These figures of a metric as a row of results; the other arguments are those of `Row`."""
        interval, of_distance = self.interval, self.distance_interval
        return Row(
            model=model,
            set=set_name,
            metric=metric.name,
            value=self.value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            direction=metric.direction(set_name),
            reference=reference,
            reference_value=self.reference_value,
            distance=self.distance,
            distance_low=of_distance.low if of_distance else None,
            distance_high=of_distance.high if of_distance else None,
            unit=metric.unit,
            n=n,
            crops=crops,
            corruption=corruption,
            sampler=sampler,
            extractor=extractor,
            seed=seed,
            note=self.note,
            samples=samples,
            crop_scale=crop_scale,
        )


def figures_of(values: Values, others: Values | None, photos: Photos, resampling: Resampling) -> Figures:
    """The figures of values `[images]` beside the reference's `others` on the same images.

    photos: the source photo of each image, numbered from 0 without gaps.
    """
    return all_figures([(values, others)], photos, resampling)[0]


def all_figures(
    columns: Sequence[tuple[Values, Values | None]], photos: Photos, resampling: Resampling
) -> list[Figures]:
    """As `figures_of` for each pair of `columns`, all on the same images: photos are drawn once for all of them."""
    differences = [values - others for values, others in columns if others is not None]
    intervals = bootstrap_means([values for values, _ in columns] + differences, photos, **resampling)
    note = None if all(intervals) else f"interval not available: fewer than {FEWEST_GROUPS} photos"
    of_distances = iter(zip(differences, intervals[len(columns) :], strict=True))
    found = []
    for (values, others), interval in zip(columns, intervals, strict=False):
        value = photo_mean(values, photos)
        if others is None:
            found.append(Figures(value, interval, None, None, None, note))
            continue
        difference, of_distance = next(of_distances)
        distance = photo_mean(difference, photos)
        found.append(Figures(value, interval, photo_mean(others, photos), distance, of_distance, note))
    return found


def reference_of(model: ModelName, measured: Collection[ModelName]) -> ModelName | None:
    """The model that distances of `model` are taken to: the retrained one where there is one."""
    if model != "retrained" and "retrained" in measured:
        return "retrained"
    return "original" if model == "unlearned" and "original" in measured else None


def photo_mean(values: Values, photos: Photos) -> float:
    """Mean over photos of the mean within each, as the bootstrap takes it."""
    return float((np.bincount(photos, values) / np.bincount(photos)).mean())


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other one beats, from the least first cost to the least second.

    One point beats another if it is no worse in both costs and better in one, so equal points stay together. Points
    that are no numbers are never on the front. Intervals are not looked at: a front of estimates is itself one.

    >>> pareto_front([(1, 3), (2, 1), (2, 2), (3, 1)])
    [0, 1]
    """
    finite = [place for place, (x, y) in enumerate(costs) if math.isfinite(x) and math.isfinite(y)]
    front: list[int] = []
    for place in sorted(finite, key=lambda place: costs[place]):
        if not front or costs[place][1] < costs[front[-1]][1] or costs[place] == costs[front[-1]]:
            front.append(place)
    return front
