"""The charts of a benchmark of generators. Rows stand in them by the numbers that they have in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from efface.evaluation.pareto import pareto_front
from efface.reports.canvas import LOOKS, SERIES, Chart
from efface.reports.charts import Dot, Guide, Line, Point, dot_chart, line_chart, plane_chart
from efface.reports.generator_benchmark_tables import numbered
from efface.runs.compared import Change, gap

Found = Mapping[str, Any]
LEVELS = {"ceiling": "#009e73", "doing nothing": LOOKS["original"].colour, "floor": "#cc79a7"}
SHOWN = {
    "retain": "fine-tuned on retain images",
    "few": "fine-tuned on a few forget images, the others measured",
}
NO_GAP = 1e-3
"""Gaps below it are drawn as none: a logarithmic scale would give most of its length to them."""


def pareto(found: Found, corruption: str, name: str) -> Chart | None:
    """What retain images lost, against how far the forget images are from a retrained model's."""
    rows = [(place, row) for place, row in numbered(found["rows"]) if row["measures"]]
    points = {
        (place, row["kind"]): _point(row, corruption, place)
        for place, row in rows
        if "retain_cost" in row["measures"][corruption]
    }
    methods = [point for (_, kind), point in points.items() if kind == "method"]
    front = pareto_front([(point.x, point.y) for point in methods])
    methods = [replace(point, on_front=place in front) for place, point in enumerate(methods)]
    references = [replace(point, label=kind) for (_, kind), point in points.items() if kind != "method"]
    title = "Cost on retain images, and distance from the retrained model"
    across, up = "retain error / original's", "|forget gap|, log"
    return plane_chart(name, title, across, up, methods, references)


def rank(found: Found, name: str) -> Chart | None:
    """Every method's robust F with its interval, between the levels that it is read between; None without a score."""
    rows = [(place, row) for place, row in numbered(found["rows"]) if row["scores"] and place]
    if not rows:
        return None
    first = rows[0][1]["scores"]["robust"]
    lines = {
        level.replace("do_nothing", "doing nothing"): first[level]
        for level in ("floor", "do_nothing", "ceiling")
    }
    guides = [Guide(level, value, LEVELS[level]) for level, value in lines.items() if value is not None]
    dots = [
        Dot(
            row["label"],
            score["score"],
            score["interval"][0],
            score["interval"][1],
            tick=f"{place}  {row['label']}",
        )
        for place, row in rows
        if (score := row["scores"]["robust"])
    ]
    return dot_chart(name, "F, robust, with its interval", "F, robust", dots, guides, width=4.6)


def relearning(found: Found, steps: Sequence[int], name: str) -> list[Chart]:
    """The forget error along fine-tuning, means over seeds: the references, and the first methods of the table."""
    rows = [(place, row) for place, row in numbered(found["rows"]) if row["curves"]]
    methods = [(place, row) for place, row in rows if place][: len(SERIES)]
    charts = []
    for shown, about in SHOWN.items():
        lines = []
        for place, row in [*((place, row) for place, row in rows if not place), *methods]:
            if shown in row["curves"]:
                along = np.mean(row["curves"][shown], axis=0).tolist()
                kind = row["kind"]
                look = SERIES[int(place) - 1] if place else LOOKS[kind]
                lines.append(Line(place or kind, [0, *steps], along, look))
        title = f"Relearning: {about}"
        chart = line_chart(f"{name}-{shown}", title, "steps", "log hole error on forget images", lines)
        charts += [chart] if chart else []
    return charts


def _point(row: Mapping[str, Any], corruption: str, place: str) -> Point:
    cost, apart = row["measures"][corruption]["retain_cost"], row["measures"][corruption]["forget_gap"]
    far = gap(Change(apart["value"], apart["low"], apart["high"]), is_ratio=False)
    value, low, high = (None if one is None else 0.0 if one < NO_GAP else one for one in far)
    assert value is not None
    return Point(row["label"], cost["value"], value, cost["low"], cost["high"], low, high, key=place)
