"""What every figure of a page is drawn on: a small SVG that stands inline. matplotlib is imported when one is drawn.

Nothing that comes from a user is drawn as it is: names on axes and in keys go through `drawn_text`, all others stand in
captions, escaped. Models differ by marker and dashes as well as by colour, so that no colour has to be told apart.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from markupsafe import Markup, escape

from efface.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Dashes = str | tuple[int, tuple[float, ...]]
INK, FAINT, GREY = "#333333", "#d9d9d6", "#8a8a86"
WIDTH = 2.9
LONGEST_NAME = 40
UNDRAWN = ContextVar("UNDRAWN", default=False)
"""Whether charts are left empty, their words beside them: a page is then compared by its words, without matplotlib."""


@dataclass(frozen=True)
class Look:
    """How one thing is drawn wherever it appears."""

    colour: str
    marker: str
    dashes: Dashes = "solid"


# Okabe and Ito's palette, without the yellow that is faint on white
LOOKS: Mapping[str, Look] = {
    "original": Look("#5c5c5c", "o", (0, (4, 2))),
    "unlearned": Look("#0072b2", "s"),
    "retrained": Look("#d55e00", "D", (0, (5, 1.5, 1, 1.5))),
    "true": Look("#009e73", "^"),
}
SERIES = (
    Look("#0072b2", "s"),
    Look("#009e73", "^", (0, (4, 2))),
    Look("#cc79a7", "v", (0, (1, 1.5))),
    Look("#56b4e9", "P", (0, (6, 1.5, 1, 1.5))),
    Look("#e69f00", "X", (0, (2, 1))),
    Look("#1d1f21", "*", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
)
"""Looks of runs or methods side by side, by their place; none is that of the original or the retrained model."""


@dataclass(frozen=True)
class Chart:
    """A figure with its heading and its text alternative."""

    title: str
    svg: Markup
    alt: str


class Canvas:
    """Axes to draw on; `chart` gives the picture once the block that drew it is left."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self._svg = ""

    def grid(self, along: Literal["x", "y", "both"], x_name: str = "", y_name: str = "") -> None:
        """Faint lines, and what stands at the axes."""
        self.axes.grid(axis=along, color=FAINT, linewidth=0.6)
        self.axes.set_xlabel(drawn_text(x_name))
        self.axes.set_ylabel(drawn_text(y_name))

    def key(self, columns: int, **options: Any) -> None:
        """The key of all that was drawn with a label, below the axes."""
        figure = self.axes.get_figure()
        assert figure is not None
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, **options)

    def chart(self, title: str, alt: str) -> Chart:
        """The picture for screen readers as one image with `alt`; its size is left to the page."""
        alt = printable(alt)
        opening, rest = self._svg.split(">", 1)
        box = re.search(r'viewBox="[^"]*"', opening)
        names = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
        head = f'<svg role="img" aria-label="{escape(alt)}" {box[0] if box else ""} {names}>'
        return Chart(title, Markup(head + rest.strip()), alt)


class _NoAxes:
    """Axes that take whatever is drawn and draw nothing."""

    def __getattr__(self, name: str) -> Self:
        return self

    def __getitem__(self, name: str) -> Self:
        return self

    def __call__(self, *_: object, **__: object) -> Self:
        return self


@contextmanager
def canvas(name: str, height: float, width: float = WIDTH) -> Iterator[Canvas]:
    """A canvas of so many inches. name: unique on the page; the names inside the SVG begin with it."""
    if UNDRAWN.get():
        empty = Canvas(cast("Axes", _NoAxes()))
        empty._svg = "<svg></svg>"
        yield empty
        return
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawn = Canvas(figure.add_subplot())
        few_ticks(drawn.axes.xaxis, 4)
        yield drawn
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    drawn._svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])


def drawn_text(text: str) -> str:
    """A name for an axis or a key: printable, short, and never read as a formula."""
    text = printable(text)
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return text.replace("$", r"\$")


def few_ticks(axis: Axis, most: int) -> None:
    """Ticks at round values, no more than `most` and one."""
    if not UNDRAWN.get():
        from matplotlib.ticker import MaxNLocator

        axis.set_major_locator(MaxNLocator(most))


def scale_axis(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> bool:
    """Make an axis logarithmic where `values` span more than a decade; returns whether it did.

    Values that begin at zero, as steps of training do, get a linear stretch up to the first one above it.
    """
    finite = [value for value in values if math.isfinite(value)]
    above = [value for value in finite if value > 0]
    if not above or min(finite) < 0 or max(above) <= 10 * min(above):
        return False
    if UNDRAWN.get():
        return True
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, SymmetricalLogLocator

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
