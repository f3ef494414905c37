"""Lines on common axes, such as an error along steps of relearning, told apart by dashes and markers as well as colour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from efface.evaluation.results import MODELS, ModelName
from efface.probes.findings import Curve
from efface.reports.charts import FAINT, FEW_POINTS, MARKS, Chart, drawing, drawn_text, scale_axis, with_alt
from efface.wording import figure, name_of

Dashes = str | tuple[int, tuple[float, ...]]
CURVES_WIDTH, CURVES_HEIGHT = 3.6, 2.6
FEW_KEYS = 3
DASHES: dict[ModelName, Dashes] = {
    "original": (0, (4, 2)),
    "unlearned": "solid",
    "retrained": (0, (5, 1.5, 1, 1.5)),
}
# Okabe and Ito's palette without the colours of original and retrained, and without the yellow that is faint on white
SERIES: tuple[tuple[str, str, Dashes], ...] = (
    ("#0072b2", "s", "solid"),
    ("#009e73", "^", (0, (4, 2))),
    ("#cc79a7", "v", (0, (1, 1.5))),
    ("#56b4e9", "P", (0, (6, 1.5, 1, 1.5))),
    ("#e69f00", "X", (0, (2, 1))),
    ("#1d1f21", "*", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
)


@dataclass(frozen=True)
class Line:
    """One line: what the key calls it, its points, and how it is drawn. `label` is drawn as text."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    marker: str
    dashes: Dashes


def model_lines(curves: Iterable[Curve]) -> list[Line]:
    """The curves of one figure, a line for each model, in the order original, unlearned, retrained."""
    by_model = {curve.model: curve for curve in curves}
    return [
        Line(model, by_model[model].x, by_model[model].y, *MARKS[model], DASHES[model])
        for model in MODELS
        if model in by_model
    ]


def series_line(label: str, curve: Curve, place: int) -> Line:
    """The line of one of several runs or methods, numbered by `place` from 0."""
    return Line(label, curve.x, curve.y, *SERIES[place % len(SERIES)])


def line_chart(lines: Sequence[Line], name: str, title: str, x_name: str, y_name: str) -> Chart | None:
    """The lines on common axes; None where no point of any line is a finite number. name: unique, for inner names."""
    pairs = [(line, _finite(line)) for line in lines]
    pairs = [(line, points) for line, points in pairs if points]
    if not pairs:
        return None
    from matplotlib.ticker import MaxNLocator

    with drawing(name, height=CURVES_HEIGHT, width=CURVES_WIDTH) as (axes, drawn):
        for line, points in pairs:
            look: dict[str, Any] = {
                "color": line.colour,
                "linestyle": line.dashes,
                "label": drawn_text(line.label),
            }
            marker = line.marker if len(points) <= FEW_POINTS else ""
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1.3, **look)
        x_log = scale_axis(axes, "x", (x for _, points in pairs for x, _ in points))
        y_log = scale_axis(axes, "y", (y for _, points in pairs for _, y in points))
        if not y_log:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_xlabel(drawn_text(name_of(x_name)) + (" (log)" if x_log else ""))
        axes.set_ylabel(drawn_text(name_of(y_name)) + (" (log)" if y_log else ""))
        figure_of = axes.get_figure()
        assert figure_of is not None
        columns = len(pairs) if len(pairs) <= FEW_KEYS else (len(pairs) + 1) // 2
        figure_of.legend(loc="outside lower center", ncols=columns, frameon=False, handlelength=3.2)
    told = (
        f"{line.label}: {figure(points[0][1])} at {points[0][0]:g}, {figure(points[-1][1])} at {points[-1][0]:g}"
        for line, points in pairs
    )
    alt = f"{title}, {name_of(y_name)} along {name_of(x_name)}. {'; '.join(told)}."
    return Chart(title, with_alt(drawn[0], alt), alt)


def _finite(line: Line) -> list[tuple[float, float]]:
    points = zip(line.x, line.y, strict=False)
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
