"""The charts of a run's page: errors or accuracies of every model, losses along training, curves that probes took."""

from __future__ import annotations

from collections.abc import Iterable

from efface.reports.canvas import LOOKS, Chart
from efface.reports.charts import Dot, Guide, Line, dot_chart, line_chart
from efface.runs.log import Steps
from efface.runs.results import MODELS, SETS, Curve, Row, find
from efface.runs.words import WORDS, ModelKind
from efface.wording import name_of


def error_charts(rows: Iterable[Row], kind: ModelKind = "generator") -> list[Chart]:
    """One chart for each set: every model's error or accuracy with its interval, on one scale for all sets."""
    words = WORDS[kind]
    rows = [row for row in rows if row.metric == words.metric and row.value is not None]
    widest = (
        max((end for row in rows for end in (row.value, row.high) if end is not None), default=0.0) or 1.0
    )
    charts = []
    for set_name in SETS:
        measured = [row for model in MODELS if (row := find(rows, model, set_name, words.metric))]
        if not measured:
            continue
        yardstick = next((row for row in measured if row.model == "retrained"), measured[0])
        guide = Guide(f"the {yardstick.model} model", yardstick.value or 0.0, LOOKS[yardstick.model].colour)
        dots = [Dot(row.model, row.value or 0.0, row.low, row.high, LOOKS[row.model]) for row in measured]
        title, limits = f"{set_name.capitalize()} images", (0, 1.06 * widest)
        chart = dot_chart(f"error-{set_name}", title, words.axis, dots, [guide], limits)
        charts += [chart] if chart else []
    return charts


def loss_charts(phase: Steps, place: int) -> list[Chart]:
    """The loss of a phase, each of its parts, and the gradient norm, over its steps."""
    curves = phase.losses | {name: phase.values[name] for name in ("gradient_norm",) if name in phase.values}
    titles = {"loss": "Loss", "gradient_norm": "Gradient norm"}
    axis = "step" if not phase.is_thinned else "step (thinned out)"
    charts = []
    for number, (name, values) in enumerate(curves.items()):
        title = titles.get(name, f"Part of the loss: {name_of(name)}")
        line = Line(name_of(name), phase.steps, values, LOOKS["unlearned"])
        chart = line_chart(f"loss-{place}-{number}", title, axis, "value (no unit)", [line])
        charts += [chart] if chart else []
    return charts


def model_lines(curves: Iterable[Curve]) -> list[Line]:
    """The curves of one figure, a line for each model, in the order original, unlearned, retrained."""
    by_model = {curve.model: curve for curve in curves}
    return [Line(model, curve.x, curve.y, LOOKS[model]) for model in MODELS if (curve := by_model.get(model))]
