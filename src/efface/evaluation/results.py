"""Result rows: one figure each, beside what it is to be compared with.

`results.json` is the list of rows, `results.csv` the same as a table. Figures that cannot be given are
rows with `value` null and the reason in `note`, so that their absence is visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from efface.documents import Absent, csv_text, read_json
from efface.errors import InputError
from efface.files import write_json, write_text
from efface.metrics.catalogue import HOLE_ERROR
from efface.settings import problems_of

ModelName = Literal["original", "unlearned", "retrained"]
SetName = Literal["forget", "retain", "neutral"]
MODELS: tuple[ModelName, ...] = ("original", "unlearned", "retrained")
SETS: tuple[SetName, ...] = ("forget", "retain", "neutral")


@dataclass(frozen=True)
class Row:
    """One figure. `low` and `high` bound its confidence interval; null where there is none.

    direction: `up`, `down`, or `match_retrained` on the forget set. reference: the model that `distance`
    (value minus the reference's value, with its paired interval) is taken to. n: images, crops: views of
    each; corruption: what was hidden, `none` for classifiers; sampler: how a generator with several steps
    drew the picture; samples: of how many answers to each view the figure is the mean. crop_scale: the share of an
    image's area that views cover, null for classifiers.
    """

    model: ModelName
    set: SetName
    metric: str
    value: float | None
    low: float | None
    high: float | None
    direction: str
    reference: ModelName | None
    reference_value: float | None
    distance: float | None
    distance_low: float | None
    distance_high: float | None
    unit: str
    n: int
    crops: int
    corruption: str
    sampler: str | None
    extractor: str | None
    seed: int
    note: str | None = None
    samples: int = 1
    crop_scale: str | None = None


@dataclass(frozen=True)
class Worst:
    """An image or class that lost most from the original to the unlearned model, by `metric`.

    ratio: unlearned by original; null for a metric whose values have none (a confidence may be below zero).
    """

    set: SetName
    kind: Literal["image", "class"]
    name: str
    original: float
    unlearned: float
    ratio: float | None
    metric: str = HOLE_ERROR


ROWS: TypeAdapter[list[Row]] = TypeAdapter(list[Row])


def write_results(folder: Path, rows: Iterable[Row]) -> None:
    """Write `results.json` and `results.csv`."""
    rows = list(rows)
    write_json(folder / "results.json", [asdict(row) for row in rows])
    write_text(folder / "results.csv", table_of(rows))


def table_of(rows: Iterable[Row]) -> str:
    """The text of `results.csv`."""
    lines = (asdict(row).values() for row in rows)
    return csv_text([[field.name for field in fields(Row)], *lines])


def read_results(folder: Path) -> list[Row]:
    """The rows of `results.json`; raises `InputError` where they are missing or damaged."""
    path = folder / "results.json"
    try:
        return ROWS.validate_python(read_json(path))
    except Absent:
        raise InputError(f"{folder} holds no results.json: the run is not finished") from None
    except ValidationError as error:
        raise InputError(*problems_of(error), what=f"{path} is damaged") from None


def find(rows: Iterable[Row], model: str, set_name: str, metric: str) -> Row | None:
    """The row of that model, set and metric."""
    wanted = (model, set_name, metric)
    return next((row for row in rows if (row.model, row.set, row.metric) == wanted), None)
