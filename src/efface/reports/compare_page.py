"""`efface report --compare`: several finished runs on one page, and the same as a table beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.evaluation.results import ModelName
from efface.files import write_text
from efface.probes.findings import Curve
from efface.reports.canvas import LOOKS, SERIES, Chart
from efface.reports.charts import Line, line_chart
from efface.reports.page import render
from efface.reports.probe_tables import SIGNS
from efface.reports.trade_offs import Plane, shared_references, trade_offs
from efface.runs.comparing import (
    Change,
    ComparedRun,
    change,
    check_comparable,
    differing_settings,
    read_runs,
)
from efface.runs.folder import is_run
from efface.wording import duration, figure, interval, name_of, signed

CHANGES = {"forget": "retrained", "retain": "original", "neutral": "original"}
"""Which model the unlearned one is put beside on each set."""


def compare_runs(folders: Sequence[Path], out: Path) -> Path:
    """Write the page `out` (an .html file) and beside it a .csv file of the same name, atomically; returns `out`.

    Raises `InputError` where a folder is no finished run, or where the runs do not compare: other images, another
    corruption, other evaluation settings. What differs is said.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: a comparison is an .html file, with a .csv file beside it")
    if is_run(out.parent):
        raise InputError(f"--out {out}: this is the folder of a run, whose own files must not be replaced")
    runs = read_runs(folders)
    cautions = check_comparable(runs)
    plots = trade_offs(runs)
    page = render("compare.html", **_content(runs, cautions, plots), table=out.with_suffix(".csv").name)
    try:
        write_text(out.with_suffix(".csv"), _csv(runs, plots))
        write_text(out, page)
    except OSError as error:
        raise InputError(f"--out {out}: it cannot be written there: {error.strerror}") from None
    return out


def _content(runs: Sequence[ComparedRun], cautions: list[str], plots: Sequence[Plane]) -> dict[str, Any]:
    yardstick = runs[0].measure
    first = runs[0]
    return {
        "cautions": cautions,
        "yardstick": yardstick,
        "confidence": _confidence(first),
        "conditions": _conditions(first),
        "sets": list(CHANGES.items()),
        "rows": [_row(run, differs) for run, differs in zip(runs, differing_settings(runs), strict=True)],
        "references": [_reference_row(first, name) for name in shared_references(runs)],
        "has_requirements": any(run.run.requirements for run in runs),
        "plots": [
            {
                "title": plot.title,
                "chart": plot.chart(),
                "front": [{"place": place, "label": plot.points[place].label} for place in plot.front],
                "left_out": [run.place for run in runs if run.place not in plot.points],
            }
            for plot in plots
        ],
        "requests": len({run.run.record.request and run.run.record.request.id for run in runs}),
        "probes": _probe_lines(runs),
        "reference": _probe_reference(runs),
        "places": [run.place for run in runs],
        "curves": _curve_charts(runs),
    }


def _row(run: ComparedRun, differs: Mapping[str, str]) -> dict[str, Any]:
    record = run.run.record
    seconds = record.durations.training
    return {
        "place": run.place,
        "name": run.name,
        "method": record.method.name if record.method else "models as given",
        "settings": [f"{name} {value}" for name, value in differs.items()],
        "claim": record.claim.level,
        "cells": [_cell(run, change(run, name, "unlearned", other)) for name, other in CHANGES.items()],
        "time": "none" if seconds is None else duration(seconds),
        "requirements": [
            {"sign": SIGNS[one.state], "state": one.state, "text": one.requirement}
            for one in run.run.requirements
        ],
        "request": record.request.id if record.request else None,
    }


def _reference_row(run: ComparedRun, model: ModelName) -> dict[str, Any]:
    cells = [_cell(run, change(run, name, model, other)) for name, other in CHANGES.items()]
    return {"model": model, "cells": cells}


def _cell(run: ComparedRun, found: Change | None) -> dict[str, str | None]:
    if found is None:
        return {"value": "none", "interval": None}
    value, low, high = found
    is_ratio = run.measure.is_ratio
    if not is_ratio:
        return {"value": signed(value), "interval": interval(low, high)}
    # most ratios are close to 1, and what counts is how close
    return {"value": figure(value, 4), "interval": interval(low, high, 4)}


def _conditions(run: ComparedRun) -> list[str]:
    record = run.run.record
    counts = [f"{record.images.count(name)} {name} images" for name in CHANGES]
    return [*counts, *([f"hidden: {record.corruption}"] if record.corruption else [])]


def _confidence(run: ComparedRun) -> float:
    evaluation = run.run.record.evaluation
    assert evaluation is not None, "a run that is compared has figures"
    return evaluation.settings.confidence


def _figure_names(runs: Sequence[ComparedRun]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.probe, one.figure) for run in runs for one in run.run.findings.figures))


def _probe_lines(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """A line for each figure of a probe, a cell for each run: the unlearned model's value and difference."""
    lines = []
    for probe, name in _figure_names(runs):
        cells = []
        for run in runs:
            found = run.finding(name)
            if found is None or found.value is None:
                cells.append({"value": None, "note": found.note if found else "not asked"})
                continue
            difference = None if found.difference is None else signed(found.difference)
            bounds = interval(found.difference_low, found.difference_high, 2)
            cells.append(
                {
                    "value": figure(found.value, 3),
                    "difference": difference,
                    "interval": bounds,
                    "to": found.reference,
                }
            )
        lines.append({"probe": probe, "figure": name, "cells": cells})
    return lines


def _probe_reference(runs: Sequence[ComparedRun]) -> str | None:
    """The model that all differences are taken to; None where they are not taken to the same one."""
    used = {one.reference for run in runs for one in run.run.findings.figures if one.model == "unlearned"}
    return next(iter(used - {None})) if len(used - {None}) == 1 else None


def _curve_charts(runs: Sequence[ComparedRun]) -> list[Chart]:
    """Every curve of the unlearned models on common axes, with the first run's retrained (else original) model's."""
    curves = [(run, curve) for run in runs for curve in run.run.findings.curves]
    charts = []
    for number, key in enumerate(dict.fromkeys((c.probe, c.figure, c.x_name) for _, c in curves)):
        mine = [(run, curve) for run, curve in curves if (curve.probe, curve.figure, curve.x_name) == key]
        lines = [
            Line(f"run {run.place}", curve.x, curve.y, SERIES[(run.place - 1) % len(SERIES)])
            for run, curve in mine
            if curve.model == "unlearned"
        ]
        lines += _reference_lines(mine)
        probe, name, along = key
        chart = line_chart(f"curve-{number}", f"{probe}: {name}", name_of(along), name_of(name), lines)
        charts += [chart] if chart else []
    return charts


def _reference_lines(curves: Sequence[tuple[ComparedRun, Curve]]) -> list[Line]:
    for model in ("retrained", "original"):
        found = [(run, curve) for run, curve in curves if curve.model == model]
        if found:
            run, curve = found[0]
            label = (
                model if len({one.weights(model) for one, _ in found}) == 1 else f"{model} of run {run.place}"
            )
            return [Line(label, curve.x, curve.y, LOOKS[curve.model])]
    return []


def _csv(runs: Sequence[ComparedRun], plots: Sequence[Plane]) -> str:
    """A row for each run with everything that the page has of it."""
    lines = []
    for run, differs in zip(runs, differing_settings(runs), strict=True):
        record = run.run.record
        line: dict[str, Any] = {
            "run": run.name,
            "method": record.method.name if record.method else None,
            "settings": "; ".join(f"{name}={value}" for name, value in differs.items()),
            "claim": record.claim.level,
            "training_seconds": record.durations.training,
        }
        for name, other in CHANGES.items():
            found = change(run, name, "unlearned", other) or (None, None, None)
            line |= dict(
                zip((f"{name}_to_{other}{end}" for end in ("", "_low", "_high")), found, strict=True)
            )
        line |= {
            plot.name.replace("-", "_"): run.place in plot.front for plot in plots if run.place in plot.points
        }
        line |= {f"require {one.requirement}": one.state for one in run.run.requirements}
        for one in run.run.findings.figures:
            if one.model == "unlearned":
                ends = (
                    "value",
                    "low",
                    "high",
                    "difference",
                    "difference_low",
                    "difference_high",
                    "reference",
                )
                line |= {f"{one.figure} {end}": getattr(one, end) for end in ends}
        lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
