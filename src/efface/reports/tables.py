"""One table for each set: metrics as rows, models as columns, and the distance to the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from efface.reports.verdict import NO_DIFFERENCE, includes_zero
from efface.runs.results import MODELS, SETS, ModelName, Row, SetName, Worst
from efface.runs.words import WORDS, ModelKind, metric_named, metric_order, metric_title
from efface.wording import counted, figure, interval, ratio, signed

DIRECTIONS = {
    "up": "higher is better",
    "down": "lower is better",
    "match_retrained": "the goal is the retrained model's value",
}
ABOUT: Mapping[SetName, str] = {
    "forget": "The images that were to be forgotten.",
    "neutral": "Images that were neither in the training nor in the request.",
}
LISTED = 10
SHORT = 16


@dataclass(frozen=True)
class Cell:
    """A model's figure; `value` is None where it cannot be given."""

    model: str
    value: str | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Distance:
    """How far a model is from the reference, and what that means."""

    model: str
    value: str
    interval: str | None
    meaning: str


@dataclass(frozen=True)
class MetricLine:
    """One metric: what it is, each model's figure, and distances to the reference."""

    title: str
    summary: str
    unit: str
    direction: str
    note: str | None
    cells: list[Cell]
    distances: list[Distance]


@dataclass(frozen=True)
class SetTable:
    """All metrics of one set under one corruption."""

    name: SetName
    about: str
    conditions: str
    models: list[ModelName]
    reference: ModelName | None
    lines: list[MetricLine]


@dataclass(frozen=True)
class WorstTable:
    """The images or classes of one set that lost most."""

    title: str
    kind: str
    entries: list[dict[str, str]]
    left_out: int


def set_tables(
    rows: Iterable[Row], kind: ModelKind, extractor_digest: str = "", proxy_retain: bool = False
) -> list[SetTable]:
    """Tables in the order forget, retain, neutral; one for each corruption and sampler that was measured."""
    rows = list(rows)
    tables: list[SetTable] = []
    for set_name in SETS:
        mine = [row for row in rows if row.set == set_name]
        for conditions in dict.fromkeys((row.corruption, row.sampler) for row in mine):
            chosen = [row for row in mine if (row.corruption, row.sampler) == conditions]
            table = _set_table(set_name, chosen, kind, extractor_digest)
            if set_name == "retain" and proxy_retain:
                table = SetTable(
                    **{**vars(table), "about": "Proxy images that stood in for the retain images."}
                )
            tables.append(table)
    return tables


def worst_tables(worst: Iterable[Worst]) -> list[WorstTable]:
    """Worst-hit images and classes by set; at most ten of each."""
    worst = list(worst)
    tables = []
    for set_name, kind in dict.fromkeys((entry.set, entry.kind) for entry in worst):
        entries = [entry for entry in worst if (entry.set, entry.kind) == (set_name, kind)]
        shown = [_worst_entry(entry) for entry in entries[:LISTED]]
        plural = {"image": "images", "class": "classes"}[kind]
        title = f"{set_name.capitalize()} {plural}"
        tables.append(WorstTable(title, kind, shown, len(entries) - len(shown)))
    return tables


def _set_table(set_name: SetName, rows: list[Row], kind: ModelKind, extractor_digest: str) -> SetTable:
    models = [model for model in MODELS if any(row.model == model for row in rows)]
    reference = next((row.reference for row in rows if row.model == "unlearned" and row.reference), None)
    reference = reference or next((row.reference for row in rows if row.reference), None)
    keys = sorted(
        dict.fromkeys((r.metric, r.extractor or "") for r in rows), key=lambda key: metric_order(key[0])
    )
    lines = []
    for metric, extractor in keys:
        of_metric = {r.model: r for r in rows if (r.metric, r.extractor or "") == (metric, extractor)}
        lines.append(_line(metric, extractor, extractor_digest, of_metric, models))
    about = ABOUT.get(set_name) or WORDS[kind].kept
    return SetTable(set_name, about, "; ".join(_conditions(rows[0], kind)), models, reference, lines)


def _conditions(row: Row, kind: ModelKind) -> list[str]:
    if kind == "classifier":
        return [counted(row.n, "image"), "the centre square of each"]
    conditions = [
        counted(row.n, "image"),
        f"{counted(row.crops, 'view')} of each"
        + (f" ({row.crop_scale} of its area)" if row.crop_scale else ""),
        f"hidden: {row.corruption}",
    ]
    if row.samples > 1:
        conditions.insert(2, f"{row.samples} answers to each view")
    return conditions + ([f"sampler: {row.sampler}"] if row.sampler else [])


def _line(
    metric: str, extractor: str, digest: str, rows: Mapping[ModelName, Row], models: list[ModelName]
) -> MetricLine:
    known = metric_named(metric)
    first = next(iter(rows.values()))
    notes = {row.note for row in rows.values()}
    shared = notes.pop() if len(notes) == 1 else None
    return MetricLine(
        metric_title(metric, extractor, digest),
        known.summary if known else "",
        first.unit,
        DIRECTIONS.get(first.direction, first.direction),
        shared,
        [_cell(model, rows.get(model), shared) for model in models],
        [_distance(row) for model in models if (row := rows.get(model)) and row.distance is not None],
    )


def _cell(model: str, row: Row | None, shared_note: str | None) -> Cell:
    if row is None:
        return Cell(model, None, None, "not measured")
    value = None if row.value is None else figure(row.value)
    return Cell(model, value, interval(row.low, row.high), row.note if row.note != shared_note else None)


def _distance(row: Row) -> Distance:
    assert row.distance is not None
    bounds = interval(row.distance_low, row.distance_high, 2)
    return Distance(row.model, signed(row.distance), bounds, _meaning(row, bounds))


def _meaning(row: Row, bounds: str | None) -> str:
    if bounds is None:
        return "no interval: it may be chance"
    if includes_zero(row):
        return NO_DIFFERENCE
    metric = metric_named(row.metric)
    if metric is None or metric.better is None or not row.distance:
        return f"differs from the {row.reference} model"
    worse = (row.distance > 0) == (metric.better == "down")
    does = WORDS[metric.of].well
    how = (metric.comparison or (f"{does} better", f"{does} worse"))[worse]
    if row.set == "forget" and row.reference == "retrained" and row.model == "unlearned":
        return f"{how} than the retrained model: {'overshoot' if worse else 'undershoot'}"
    return f"{how} than the {row.reference} model"


def _worst_entry(entry: Worst) -> dict[str, str]:
    shortened = entry.kind == "image" and len(entry.name) > SHORT
    return {
        "name": entry.name[:SHORT] + "…" if shortened else entry.name,
        "full": entry.name,
        "original": figure(entry.original, 3),
        "unlearned": figure(entry.unlearned, 3),
        "ratio": ratio(entry.unlearned, entry.original)
        if entry.ratio is not None
        else signed(entry.unlearned - entry.original),
    }
