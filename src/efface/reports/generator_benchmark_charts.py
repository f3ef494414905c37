"""The charts of a benchmark of generators. Rows stand in them by the numbers that they have in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from efface.evaluation.results import ModelName
from efface.reports.benchmark_tables import figures
from efface.reports.charts import FAINT, MARKS, Chart, drawing, drawn_text, with_alt
from efface.reports.comparing import Change, gap
from efface.reports.curves import DASHES, SERIES, Line, line_chart
from efface.reports.generator_benchmark_tables import numbered
from efface.reports.pareto import Point, pareto_chart
from efface.wording import figure

Found = Mapping[str, Any]
WIDTH = 4.6
LEVELS = {"ceiling": "#009e73", "doing nothing": MARKS["original"][0], "floor": "#cc79a7"}
SHOWN = {
    "retain": "fine-tuned on retain images",
    "few": "fine-tuned on a few forget images, the others measured",
}
NO_GAP = 1e-3
"""Gaps below it are drawn as none: a logarithmic scale would give most of its length to them."""
TRUE = ("#009e73", "^")


@dataclass(frozen=True)
class Cloud:
    """Places `[points, 2]` of one group in a map: whose pictures, and of which set."""

    who: str
    of_set: str
    places: npt.NDArray[np.float64]


def pareto(found: Found, corruption: str, name: str) -> Chart | None:
    """What retain images lost, against how far the forget images are from a retrained model's."""
    rows = [(place, row) for place, row in numbered(found["rows"]) if row["measures"]]
    points = {
        (place, row["kind"]): _point(row, corruption, place)
        for place, row in rows
        if "retain_cost" in row["measures"][corruption]
    }
    methods = [point for (_, kind), point in points.items() if kind == "method"]
    references = {cast("ModelName", kind): point for (_, kind), point in points.items() if kind != "method"}
    title = "Cost on retain images, and distance from the retrained model"
    across, up = "retain error / original's", "|forget gap|, log"
    return pareto_chart(methods, name, title, across, up, references)


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
    with drawing(name, height=0.7 + 0.17 * max(len(rows), 2), width=WIDTH) as (axes, drawn):
        for level, value in lines.items():
            if value is not None:
                axes.axvline(value, color=LEVELS[level], linestyle=(0, (4, 3)), linewidth=0.9)
        colour, marker = MARKS["unlearned"]
        for height, (_, row) in enumerate(rows):
            score = row["scores"]["robust"]
            ends = score["interval"]
            axes.plot(ends, [height, height], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot([score["score"]], [height], color=colour, marker=marker, markersize=4, linestyle="none")
        names = [drawn_text(f"{place}  {row['label']}") for place, row in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=6)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_xlabel("F, robust")
    told = (f"{row['label']} {_told(row['scores']['robust'])}" for _, row in rows)
    levels = (f"{level} {figure(value, 3)}" for level, value in lines.items() if value is not None)
    alt = f"F, robust: {'; '.join(told)}. Dashed lines: {', '.join(levels)}."
    return Chart("F, robust, with its interval", with_alt(drawn[0], alt), alt)


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
                look = SERIES[int(place) - 1] if place else (*MARKS[kind], DASHES[kind])
                lines.append(Line(place or kind, [0, *steps], along, *look))
        title = f"Relearning: {about}"
        chart = line_chart(lines, f"{name}-{shown}", title, "steps", "log hole error on forget images")
        charts += [chart] if chart else []
    return charts


def cloud_chart(clouds: Sequence[Cloud], title: str, name: str) -> Chart:
    """A map of embeddings: filled marks are forget images, hollow ones retain images."""
    with drawing(name, height=3.4, width=3.6) as (axes, drawn):
        for cloud in clouds:
            colour, marker = TRUE if cloud.who == "true" else MARKS[cloud.who]  # type: ignore[index]
            is_forget = cloud.of_set == "forget"
            across, up = cloud.places.T
            axes.scatter(
                across, up, s=9 if is_forget else 7, marker=marker, linewidths=0.5, edgecolors=colour,
                facecolors=colour if is_forget else "none", label=f"{cloud.who}, {cloud.of_set}",
                alpha=0.9 if is_forget else 0.55,
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        figure_of = axes.get_figure()
        assert figure_of is not None
        figure_of.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=6.5, handletextpad=0.1)
    groups = ", ".join(f"{cloud.who} {cloud.of_set} ({len(cloud.places)})" for cloud in clouds)
    alt = f"{title}: a t-SNE map of the features of pictures. Groups: {groups}."
    return Chart(title, with_alt(drawn[0], alt), alt)


def _point(row: Mapping[str, Any], corruption: str, place: str) -> Point:
    cost, apart = row["measures"][corruption]["retain_cost"], row["measures"][corruption]["forget_gap"]
    far = gap(Change(apart["value"], apart["low"], apart["high"]), is_ratio=False)
    value, low, high = (None if one is None else 0.0 if one < NO_GAP else one for one in far)
    assert value is not None
    return Point(row["label"], cost["value"], value, cost["low"], cost["high"], low, high, key=place)


def _told(score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    value, ends = figures({"value": score["score"], "low": low, "high": high})
    return f"{value} ({ends})"
