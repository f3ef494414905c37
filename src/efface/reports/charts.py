"""Figures as small SVG pictures that stand inline in the page. matplotlib is imported when one is drawn.

Nothing that comes from a user is drawn as text inside a figure: names stand in the captions, escaped. Names of what a
probe measured are drawn through `drawn_text`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup, escape

from efface.evaluation.results import MODELS, SETS, ModelName, Row, find
from efface.metrics.catalogue import ModelKind
from efface.reports.kinds import WORDS, Words
from efface.reports.run_files import Steps
from efface.wording import figure as number
from efface.wording import interval, name_of, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette; the marker differs too, so that no colour has to be told apart
MARKS: dict[ModelName, tuple[str, str]] = {
    "original": ("#5c5c5c", "o"),
    "unlearned": ("#0072b2", "s"),
    "retrained": ("#d55e00", "D"),
}
INK, FAINT = "#333333", "#d9d9d6"
WIDTH = 2.9
FEW_POINTS = 40
LONGEST_NAME = 40


@dataclass(frozen=True)
class Chart:
    """A figure with its heading and its text alternative."""

    title: str
    svg: Markup
    alt: str


def error_charts(rows: Iterable[Row], kind: ModelKind = "generator") -> list[Chart]:
    """One chart for each set: every model's error or accuracy with its interval, on one scale for all sets."""
    words = WORDS[kind]
    rows = [row for row in rows if row.metric == words.metric and row.value is not None]
    if not rows:
        return []
    widest = max(max(row.value or 0.0, row.high or 0.0) for row in rows) or 1.0
    charts = []
    for set_name in SETS:
        found = [row for model in MODELS if (row := find(rows, model, set_name, words.metric))]
        if found:
            title = f"{set_name.capitalize()} images"
            charts.append(_error_chart(title, found, widest, f"error-{set_name}", words))
    return charts


def loss_charts(phase: Steps, place: int) -> list[Chart]:
    """The loss of a phase, each of its parts, and the gradient norm, over its steps."""
    curves = phase.losses | {name: phase.values[name] for name in ("gradient_norm",) if name in phase.values}
    charts = []
    for number_, (name, values) in enumerate(curves.items()):
        if any(math.isfinite(value) for value in values):
            title = {"loss": "Loss", "gradient_norm": "Gradient norm"}.get(
                name, f"Part of the loss: {name_of(name)}"
            )
            charts.append(_curve(title, phase.steps, values, f"loss-{place}-{number_}"))
    return charts


def _error_chart(title: str, rows: Sequence[Row], widest: float, name: str, words: Words) -> Chart:
    with drawing(name, height=0.62 + 0.3 * len(rows)) as (axes, drawn):
        yardstick = next((row for row in rows if row.model == "retrained"), rows[0])
        axes.axvline(
            yardstick.value or 0.0, color=MARKS[yardstick.model][0], linestyle=(0, (4, 3)), linewidth=0.9
        )
        for height, row in enumerate(rows):
            colour, marker = MARKS[row.model]
            if row.low is not None and row.high is not None:
                axes.plot(
                    [row.low, row.high], [height, height], color=colour, linewidth=2, solid_capstyle="butt"
                )
            axes.plot(
                [row.value or 0.0], [height], color=colour, marker=marker, markersize=5.5, linestyle="none"
            )
        axes.set_yticks(range(len(rows)), [row.model for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, widest * 1.06)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_xlabel(words.axis)
    values = (f"{row.model} {number(row.value or 0.0)}{_bounds(row)}" for row in rows)
    what = words.heading[0].lower() + words.heading[1:]
    alt = f"{title}, {what}: {'; '.join(values)}. The dashed line is the {yardstick.model} model."
    return Chart(title, with_alt(drawn[0], alt), alt)


def _curve(title: str, steps: Sequence[int], values: Sequence[float], name: str) -> Chart:
    with drawing(name, height=1.7) as (axes, drawn):
        marker = "o" if len(steps) <= FEW_POINTS else ""
        axes.plot(steps, values, color=MARKS["unlearned"][0], linewidth=1.1, marker=marker, markersize=2.5)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_xlabel("step")
        axes.set_ylabel("value (no unit)")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useOffset=False)
    finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    (first, start), (last, end) = finite[0], finite[-1]
    alt = f"{title}: {number(start)} at step {first}, {number(end)} at step {last}."
    return Chart(title, with_alt(drawn[0], alt), alt)


@contextmanager
def drawing(name: str, height: float, width: float = WIDTH) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, in inches; afterwards the list holds the SVG, whose inner names begin with `name`."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": "#8a8a86",
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
    }
    drawn: list[str] = []
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(4))
        yield axes, drawn
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    drawn.append(re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg))


def with_alt(svg: str, alt: str) -> Markup:
    """The picture for screen readers as one image with `alt`; its size is left to the page."""
    alt = printable(alt)
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    kept = f'{box[0] if box else ""} xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
    return Markup(f'<svg role="img" aria-label="{escape(alt)}" {kept}>{rest.strip()}')


def drawn_text(text: str) -> str:
    """A name for an axis or a key: printable, short, and never read as a formula."""
    text = printable(text)
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return text.replace("$", r"\$")


def scale_axis(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> bool:
    """Make an axis logarithmic where `values` span more than a decade; returns whether it did.

    Values that begin at zero, as steps of training do, get a linear stretch up to the first one above it.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, SymmetricalLogLocator

    finite = [value for value in values if math.isfinite(value)]
    above = [value for value in finite if value > 0]
    if not above or min(finite) < 0 or max(above) <= 10 * min(above):
        return False
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_scale = axes.set_xscale if which == "x" else axes.set_yscale
    subs = (1, 2, 5) if max(above) <= 200 * min(above) else (1,)
    if min(finite) == 0:
        set_scale("symlog", linthresh=min(above), linscale=0.5)
        axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=min(above), subs=subs))
    else:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    return True


def _bounds(row: Row) -> str:
    bounds = interval(row.low, row.high)
    return f" ({bounds})" if bounds else ""
