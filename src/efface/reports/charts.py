"""The charts of all pages: dots with intervals, lines, a plane of two costs, clouds, bars. They draw plain values only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from efface.reports.canvas import GREY, INK, LOOKS, Chart, Look, canvas, drawn_text, few_ticks, scale_axis
from efface.wording import figure, interval

FEW_POINTS, FEW_DOTS, FEW_KEYS = 40, 6, 3


@dataclass(frozen=True)
class Dot:
    """A value on a line of its own, with the ends of its interval where there is one.

    label: what the text alternative calls it. tick: what is drawn at the axis; the label if it is empty.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    look: Look = LOOKS["unlearned"]
    tick: str = ""


@dataclass(frozen=True)
class Guide:
    """A value that the dots are read against: a dashed line through all of them."""

    label: str
    value: float
    colour: str


@dataclass(frozen=True)
class Line:
    """Points joined by a line, and what the key calls it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    look: Look


@dataclass(frozen=True)
class Point:
    """Something with two costs, less of each being better, and the ends of their intervals where there are any.

    label: what the text alternative calls it. key: what is drawn beside the point. on_front: no other one beats it.
    """

    label: str
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    key: str = ""
    on_front: bool = False


@dataclass(frozen=True)
class Cloud:
    """Places of one group in a map, filled or hollow."""

    label: str
    places: Sequence[tuple[float, float]]
    look: Look
    filled: bool


def dot_chart(
    name: str,
    title: str,
    axis: str,
    dots: Sequence[Dot],
    guides: Sequence[Guide] = (),
    limits: tuple[float | None, float | None] = (0, None),
    width: float = 2.9,
) -> Chart | None:
    """Dots with their intervals, one below the other; None where there is none. name: unique on the page."""
    if not dots:
        return None
    few = len(dots) <= FEW_DOTS
    with canvas(name, 0.66 + (0.3 if few else 0.17) * max(len(dots), 2), width) as drawn:
        axes = drawn.axes
        for guide in guides:
            axes.axvline(guide.value, color=guide.colour, linestyle=(0, (4, 3)), linewidth=0.9)
        for height, dot in enumerate(dots):
            colour, size = dot.look.colour, 5.5 if few else 4
            if dot.low is not None and dot.high is not None:
                ends = [dot.low, dot.high]
                axes.plot(
                    ends, [height, height], color=colour, linewidth=2 if few else 1.6, solid_capstyle="butt"
                )
            axes.plot(
                [dot.value], [height], color=colour, marker=dot.look.marker, markersize=size, linestyle="none"
            )
        ticks = [drawn_text(dot.tick or dot.label) for dot in dots]
        axes.set_yticks(range(len(dots)), ticks, fontsize=8 if few else 6)
        axes.set_ylim(len(dots) - 0.45, -0.55)
        axes.set_xlim(*limits)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        drawn.grid("x", axis)
    told = "; ".join(f"{dot.label} {figure(dot.value)}{_ends(dot.low, dot.high)}" for dot in dots)
    lines = ", ".join(f"{guide.label} {figure(guide.value)}" for guide in guides)
    return drawn.chart(title, f"{title}, {axis}: {told}." + (f" Dashed: {lines}." if lines else ""))


def line_chart(name: str, title: str, x_name: str, y_name: str, lines: Sequence[Line]) -> Chart | None:
    """Lines on common axes, told apart by dashes and markers too; None where no point is a finite number."""
    kept = [(line, points) for line in lines if (points := _finite(line))]
    if not kept:
        return None
    alone = len(lines) == 1
    with canvas(name, 1.7, 2.9) if alone else canvas(name, 2.6, 3.6) as drawn:
        axes = drawn.axes
        for line, points in kept:
            marker = line.look.marker if len(points) <= FEW_POINTS else ""
            look = {"color": line.look.colour, "linestyle": line.look.dashes, "label": drawn_text(line.label)}
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1.3, **look)  # type: ignore[arg-type]
        x_log = scale_axis(axes, "x", (x for _, points in kept for x, _ in points))
        y_log = scale_axis(axes, "y", (y for _, points in kept for _, y in points))
        if not y_log:
            few_ticks(axes.yaxis, 5)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useOffset=False)
        drawn.grid("y", x_name + " (log)" * x_log, y_name + " (log)" * y_log)
        if not alone:
            drawn.key(len(kept) if len(kept) <= FEW_KEYS else (len(kept) + 1) // 2, handlelength=3.2)
    told = (
        f"{line.label}: {figure(points[0][1])} at {points[0][0]:g}, {figure(points[-1][1])} at {points[-1][0]:g}"
        for line, points in kept
    )
    return drawn.chart(title, f"{title}, {y_name} along {x_name}. {'; '.join(told)}.")


def plane_chart(
    name: str,
    title: str,
    x_name: str,
    y_name: str,
    points: Sequence[Point],
    references: Sequence[Point] = (),
) -> Chart | None:
    """Points between two costs, a dotted line through the front, and reference models by their labels.

    None where no point can be drawn.
    """
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    references = [point for point in references if math.isfinite(point.x) and math.isfinite(point.y)]
    if not points:
        return None
    front = sorted((point.x, point.y) for point in points if point.on_front)
    best = LOOKS["unlearned"].colour
    with canvas(name, 3.2, 4.6) as drawn:
        axes = drawn.axes
        if front:
            axes.plot(*zip(*front, strict=True), color=best, linewidth=0.9, linestyle=(0, (1, 2)))
        for point in points:
            colour, marker = (best, "s") if point.on_front else (GREY, "o")
            for xs, ys in _intervals(point):
                axes.plot(xs, ys, color=colour, linewidth=1, alpha=0.7, solid_capstyle="butt")
            fill = colour if point.on_front else "white"
            axes.plot([point.x], [point.y], color=colour, marker=marker, markersize=6, markerfacecolor=fill)
            axes.annotate(
                drawn_text(point.key), (point.x, point.y), (5, 4), textcoords="offset points", color=INK
            )
        for point in references:
            look = LOOKS[point.label]
            axes.plot(
                [point.x], [point.y], color=look.colour, marker=look.marker, markersize=6, linestyle="none"
            )
            axes.annotate(
                point.label, (point.x, point.y), (6, -9), textcoords="offset points", color=look.colour
            )
        everything = [*points, *references]
        x_log = scale_axis(axes, "x", _given(end for p in everything for end in (p.x, p.x_low, p.x_high)))
        y_log = scale_axis(axes, "y", _given(end for p in everything for end in (p.y, p.y_low, p.y_high)))
        axes.margins(0.12)
        drawn.grid("both", x_name + " (log)" * x_log, y_name + " (log)" * y_log)
    told = [f"{point.label}: {_costs(point)}{' (on the front)' * point.on_front}" for point in points]
    told += [f"the {point.label} model: {_costs(point)}" for point in references]
    across = f"across: {x_name}, up: {y_name}; less of both is better"
    return drawn.chart(title, f"{title}; {across}. {'; '.join(told)}.")


def cloud_chart(name: str, title: str, clouds: Sequence[Cloud]) -> Chart:
    """A map whose axes mean nothing, such as t-SNE: only what lies near to what."""
    with canvas(name, 3.4, 3.6) as drawn:
        axes = drawn.axes
        for cloud in clouds:
            look, filled = cloud.look, cloud.filled
            across, up = zip(*cloud.places, strict=True)
            axes.scatter(
                across, up, s=9 if filled else 7, marker=look.marker, linewidths=0.5,
                edgecolors=look.colour, facecolors=look.colour if filled else "none",
                alpha=0.9 if filled else 0.55, label=drawn_text(cloud.label),
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        drawn.key(3, fontsize=6.5, handletextpad=0.1)
    groups = ", ".join(f"{cloud.label} ({len(cloud.places)})" for cloud in clouds)
    return drawn.chart(title, f"{title}. Groups: {groups}.")


def bar_chart(
    name: str,
    title: str,
    x_name: str,
    y_name: str,
    bars: Sequence[tuple[float, float]],
    width: float,
    alt: str,
) -> Chart:
    """Bars by their left edges and heights, all of one width; those of height 0 leave a gap."""
    with canvas(name, 1.7) as drawn:
        edges, heights = zip(*bars, strict=True)
        drawn.axes.bar(edges, heights, 0.92 * width, align="edge", color=LOOKS["unlearned"].colour)
        drawn.grid("y", x_name, y_name)
    return drawn.chart(title, alt)


def _finite(line: Line) -> list[tuple[float, float]]:
    points = zip(line.x, line.y, strict=False)
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _intervals(point: Point) -> Iterable[tuple[list[float], list[float]]]:
    if point.x_low is not None and point.x_high is not None:
        yield [point.x_low, point.x_high], [point.y, point.y]
    if point.y_low is not None and point.y_high is not None:
        yield [point.x, point.x], [point.y_low, point.y_high]


def _given(ends: Iterable[float | None]) -> list[float]:
    return [end for end in ends if end is not None]


def _costs(point: Point) -> str:
    across, up = _ends(point.x_low, point.x_high), _ends(point.y_low, point.y_high)
    return f"{figure(point.x, 3)}{across}, {figure(point.y, 3)}{up}"


def _ends(low: float | None, high: float | None) -> str:
    ends = interval(low, high)
    return f" ({ends})" if ends else ""
