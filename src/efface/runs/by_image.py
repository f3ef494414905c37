"""`per_image.csv`: what each model makes of each single image, by keyed id."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from efface.errors import InputError
from efface.evaluation.figures import Values, photo_mean
from efface.evaluation.results import ModelName, SetName

Side = tuple[str, str]
"""A model and a set."""
FIRST = ["model", "set", "image"]


@dataclass(frozen=True)
class ByImage:
    """One metric of single images: for each model and set, values by keyed id; empty where there is no such table."""

    metric: str = ""
    values: Mapping[Side, Mapping[str, float]] = field(default_factory=dict)

    def of(self, model: str, set_name: str) -> Mapping[str, float]:
        """Values by keyed id; empty where they were not measured."""
        return self.values.get((model, set_name), {})


@dataclass(frozen=True)
class PerImage:
    """The whole table. images: keyed ids of each model and set, in order; values: their columns, None where empty."""

    images: Mapping[Side, list[str]] = field(default_factory=dict)
    values: Mapping[Side, Mapping[str, list[float | None]]] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[tuple[ModelName, SetName], dict[str, Values]]:
        """The values of each model and set by metric, `[images]`, in the table's order; without metrics that have none."""
        return {
            (cast(ModelName, model), cast(SetName, name)): {
                metric: np.array([np.nan if value is None else value for value in column])
                for metric, column in columns.items()
                if any(value is not None for value in column)
            }
            for (model, name), columns in self.values.items()
        }

    def column(self, model: str, set_name: str, metric: str) -> dict[str, list[float]]:
        """The values of a metric by keyed id: several where an image stands in the set more than once."""
        found: dict[str, list[float]] = {}
        side = model, set_name
        for image, value in zip(
            self.images.get(side, ()), self.values.get(side, {}).get(metric, ()), strict=False
        ):
            if value is not None:
                found.setdefault(image, []).append(value)
        return found

    def mean(self, model: str, set_name: str, metric: str) -> float | None:
        """The mean over photos, as a row has it; None where the table has no such values."""
        column = self.column(model, set_name, metric)
        if not column:
            return None
        photos = np.repeat(np.arange(len(column)), [len(values) for values in column.values()])
        return photo_mean(np.concatenate([np.array(values) for values in column.values()]), photos)


def read_per_image(run: Path) -> PerImage:
    """The table of a run, empty where it has none; raises `InputError` where the file is damaged."""
    path = run / "per_image.csv"
    images: dict[Side, list[str]] = {}
    values: dict[Side, dict[str, list[float | None]]] = {}
    if not path.exists():
        return PerImage()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            metrics = [name for name in rows.fieldnames or () if name not in FIRST]
            for row in rows:
                side = row["model"], row["set"]
                images.setdefault(side, []).append(row["image"])
                columns = values.setdefault(side, {name: [] for name in metrics})
                for name in metrics:
                    columns[name].append(float(row[name]) if row[name] else None)
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return PerImage(images, values)


def read_by_image(run: Path, metrics: Iterable[str]) -> ByImage:
    """The first of `metrics` that `per_image.csv` has a value of; raises `InputError` where the file is damaged."""
    table = read_per_image(run)
    for name in metrics:
        columns = {side: table.column(*side, name) for side in table.images}
        found = {
            side: {image: values[-1] for image, values in column.items()}
            for side, column in columns.items()
            if column
        }
        if found:
            return ByImage(name, found)
    return ByImage()
