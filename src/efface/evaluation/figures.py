"""What every row of figures is made of, whatever the kind of model: a mean over photos, its interval, a distance."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from efface.evaluation.results import ModelName
from efface.metrics.intervals import FEWEST_GROUPS, Interval, bootstrap_difference, bootstrap_mean

Values = npt.NDArray[np.float64]
Photos = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """The numbers of one row; the reference's and the distance are None where there is no reference."""

    value: float
    interval: Interval | None
    reference_value: float | None
    distance: float | None
    distance_interval: Interval | None
    note: str | None


def figures_of(values: Values, others: Values | None, photos: Photos, bootstrap: dict[str, Any]) -> Figures:
    """The figures of values `[images]` beside the reference's `others` on the same images.

    photos: the source photo of each image, numbered from 0 without gaps. bootstrap: confidence, resamples, seed.
    """
    interval = bootstrap_mean(values, photos, **bootstrap)
    note = None if interval else f"interval not available: fewer than {FEWEST_GROUPS} photos"
    if others is None:
        return Figures(photo_mean(values, photos), interval, None, None, None, note)
    return Figures(
        photo_mean(values, photos),
        interval,
        photo_mean(others, photos),
        photo_mean(values - others, photos),
        bootstrap_difference(values, others, photos, **bootstrap),
        note,
    )


def reference_of(model: ModelName, measured: Collection[ModelName]) -> ModelName | None:
    """The model that distances of `model` are taken to: the retrained one where there is one."""
    if model != "retrained" and "retrained" in measured:
        return "retrained"
    return "original" if model == "unlearned" and "original" in measured else None


def photo_mean(values: Values, photos: Photos) -> float:
    """Mean over photos of the mean within each, as the bootstrap takes it."""
    return float((np.bincount(photos, values) / np.bincount(photos)).mean())
