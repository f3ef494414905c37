"""What cannot be had better without a price: points with two costs, those that no other one beats, and their plot.

Knows neither runs nor methods; whoever has labelled points can use it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from efface.evaluation.results import ModelName
from efface.reports.charts import FAINT, INK, MARKS, Chart, drawing, scale_axis, with_alt
from efface.wording import figure, interval

WIDTH, HEIGHT = 4.6, 3.2
BEATEN = "#8a8a86"


@dataclass(frozen=True)
class Point:
    """Something with two costs `x` and `y`, less of each being better, and the ends of their intervals where there are any.

    label: its name, never drawn inside the plot. key: what is drawn beside the point, as the number of its table row.
    """

    label: str
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    key: str = ""


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Places of the points that no other one beats, from the least x to the least y.

    One point beats another if it is no worse on both axes and better on one, so equal points stay together. Points
    that are no numbers are never on the front. Intervals are not looked at: a front of estimates is itself one.

    >>> pareto_front([Point("a", 1, 3), Point("b", 2, 1), Point("c", 2, 2), Point("d", 3, 1)])
    [0, 1]
    """
    finite = [
        place for place, point in enumerate(points) if math.isfinite(point.x) and math.isfinite(point.y)
    ]
    front: list[int] = []
    for place in sorted(finite, key=lambda place: (points[place].x, points[place].y)):
        point, last = points[place], points[front[-1]] if front else None
        if last is None or point.y < last.y or (point.x, point.y) == (last.x, last.y):
            front.append(place)
    return front


def pareto_chart(
    points: Sequence[Point],
    name: str,
    title: str,
    x_name: str,
    y_name: str,
    references: Mapping[ModelName, Point] | None = None,
) -> Chart | None:
    """The points with their intervals and their front; None where there is no point to draw.

    name: unique in the page, for inner names. references: models to be read beside, as the original one; they are not
    on the front and beat nothing. `x_name` and `y_name` are drawn as they are.
    """
    places = [n for n, point in enumerate(points) if math.isfinite(point.x) and math.isfinite(point.y)]
    if not places:
        return None
    front = pareto_front(points)
    shown = {model: point for model, point in (references or {}).items() if math.isfinite(point.x + point.y)}
    with drawing(name, height=HEIGHT, width=WIDTH) as (axes, drawn):
        line = [(points[place].x, points[place].y) for place in front]
        axes.plot(*zip(*line, strict=True), color=MARKS["unlearned"][0], linewidth=0.9, linestyle=(0, (1, 2)))
        for place in places:
            point, is_best = points[place], place in front
            colour = MARKS["unlearned"][0] if is_best else BEATEN
            for xs, ys in _intervals(point):
                axes.plot(xs, ys, color=colour, linewidth=1, alpha=0.7, solid_capstyle="butt")
            fill = colour if is_best else "white"
            marker = "s" if is_best else "o"
            axes.plot([point.x], [point.y], color=colour, marker=marker, markersize=6, markerfacecolor=fill)
            axes.annotate(
                point.key or str(place + 1), (point.x, point.y), (5, 4), textcoords="offset points", color=INK
            )
        for model, point in shown.items():
            colour, marker = MARKS[model]
            axes.plot([point.x], [point.y], color=colour, marker=marker, markersize=6, linestyle="none")
            axes.annotate(model, (point.x, point.y), (6, -9), textcoords="offset points", color=colour)
        drawn_points = [*(points[place] for place in places), *shown.values()]
        x_log = scale_axis(axes, "x", _reach(drawn_points, "x"))
        y_log = scale_axis(axes, "y", _reach(drawn_points, "y"))
        axes.grid(color=FAINT, linewidth=0.6)
        axes.margins(0.12)
        axes.set_xlabel(x_name + (" (log)" if x_log else ""))
        axes.set_ylabel(y_name + (" (log)" if y_log else ""))
    told = [f"{points[n].label}: {_told(points[n])}{' (on the front)' if n in front else ''}" for n in places]
    told += [f"the {model} model: {_told(point)}" for model, point in shown.items()]
    alt = f"{title}; across: {x_name}, up: {y_name}; less of both is better. {'; '.join(told)}."
    return Chart(title, with_alt(drawn[0], alt), alt)


def _intervals(point: Point) -> Iterable[tuple[list[float], list[float]]]:
    if point.x_low is not None and point.x_high is not None:
        yield [point.x_low, point.x_high], [point.y, point.y]
    if point.y_low is not None and point.y_high is not None:
        yield [point.x, point.x], [point.y_low, point.y_high]


def _reach(points: Iterable[Point], axis: str) -> list[float]:
    ends = (getattr(point, axis + end) for point in points for end in ("", "_low", "_high"))
    return [end for end in ends if end is not None]


def _told(point: Point) -> str:
    ends = (interval(point.x_low, point.x_high), interval(point.y_low, point.y_high))
    words = [f" ({bounds})" if bounds else "" for bounds in ends]
    return f"{figure(point.x, 3)}{words[0]}, {figure(point.y, 3)}{words[1]}"
