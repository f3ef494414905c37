"""`efface report --compare`: several finished runs on one page, and the same as a table beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.documents import csv_text
from efface.errors import InputError
from efface.files import write_text
from efface.reports.canvas import LOOKS, SERIES, Chart
from efface.reports.charts import Line, Point, line_chart, plane_chart
from efface.reports.page import render
from efface.reports.probe_tables import SIGNS
from efface.runs.compared import Change, ComparedRun
from efface.runs.comparing import BESIDE, Changes, RunComparison, compare
from efface.runs.folder import is_run
from efface.runs.planes import Costs, Plane
from efface.runs.results import Curve
from efface.wording import counted, duration, figure, interval, name_of, signed

ENDS = ("value", "low", "high", "difference", "difference_low", "difference_high", "reference")
"""What the table beside the page tells of each figure of a probe."""


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
    comparison = compare(folders)
    page = render("compare.html", **_content(comparison), table=out.with_suffix(".csv").name)
    try:
        write_text(out.with_suffix(".csv"), _csv(comparison))
        write_text(out, page)
    except OSError as error:
        raise InputError(f"--out {out}: it cannot be written there: {error.strerror}") from None
    return out


def _content(comparison: RunComparison) -> dict[str, Any]:
    runs = comparison.runs
    first = runs[0]
    is_ratio = first.measure.is_ratio
    return {
        "cautions": comparison.cautions,
        "measure": first.measure,
        "confidence": _confidence(first),
        "conditions": _conditions(first),
        "sets": list(BESIDE.items()),
        "rows": [
            {
                "place": run.place,
                "name": run.name,
                "record": run.run.record,
                "requirements": run.run.requirements,
                "settings": [f"{name} {value}" for name, value in differing.items()],
                "cells": _cells(changes, is_ratio),
                "time": _time(run),
            }
            for run, changes, differing in zip(runs, comparison.changes, comparison.differing, strict=True)
        ],
        "references": [
            {"model": model, "cells": _cells(changes, is_ratio)}
            for model, changes in comparison.references.items()
        ],
        "signs": SIGNS,
        "has_requirements": any(run.run.requirements for run in runs),
        "plots": [
            {
                "chart": _plane_chart(plane),
                "front": [{"place": place, "label": plane.points[place].label} for place in plane.front],
                "left_out": [run.place for run in runs if run.place not in plane.points],
            }
            for plane in comparison.planes
        ],
        "requests": len({request.id if (request := run.run.record.request) else None for run in runs}),
        "probes": _probe_lines(runs),
        "reference": _probe_reference(runs),
        "places": [run.place for run in runs],
        "curves": _curve_charts(runs),
    }


def _time(run: ComparedRun) -> str:
    seconds = run.run.record.durations.training
    return "none" if seconds is None else duration(seconds)


def _cells(changes: Changes, is_ratio: bool) -> list[dict[str, str | None]]:
    return [_cell(change, is_ratio) for change in changes.values()]


def _cell(change: Change | None, is_ratio: bool) -> dict[str, str | None]:
    if change is None:
        return {"value": "none", "interval": None}
    value, low, high = change
    if not is_ratio:
        return {"value": signed(value), "interval": interval(low, high)}
    # most ratios are close to 1, and what counts is how close
    return {"value": figure(value, 4), "interval": interval(low, high, 4)}


def _plane_chart(plane: Plane) -> Chart | None:
    front = plane.front
    points = [_point(costs, str(place), place in front) for place, costs in plane.points.items()]
    references = [_point(costs) for costs in plane.references.values()]
    return plane_chart(plane.name, plane.title, plane.x_name, plane.y_name, points, references)


def _point(costs: Costs, key: str = "", on_front: bool = False) -> Point:
    across, up = costs.across, costs.up
    return Point(costs.label, across.value, up.value, across.low, across.high, up.low, up.high, key, on_front)


def _conditions(run: ComparedRun) -> list[str]:
    record = run.run.record
    counts = [f"{counted(record.images.count(name), f'{name} image')}" for name in BESIDE]
    return [*counts, *([f"hidden: {record.corruption}"] if record.corruption else [])]


def _confidence(run: ComparedRun) -> float:
    evaluation = run.run.record.evaluation
    assert evaluation is not None, "a run that is compared has figures"
    return evaluation.settings.confidence


def _figure_names(runs: Sequence[ComparedRun]) -> list[tuple[str, str]]:
    figures = (finding for run in runs for finding in run.run.findings.figures)
    return list(dict.fromkeys((finding.probe, finding.figure) for finding in figures))


def _probe_lines(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """A line for each figure of a probe, a cell for each run: the unlearned model's value and difference."""
    lines = []
    for probe, name in _figure_names(runs):
        cells = []
        for run in runs:
            finding = run.finding(name)
            if finding is None or finding.value is None:
                cells.append({"value": None, "note": finding.note if finding else "not asked"})
                continue
            difference = None if finding.difference is None else signed(finding.difference)
            cells.append(
                {
                    "value": figure(finding.value, 3),
                    "difference": difference,
                    "interval": interval(finding.difference_low, finding.difference_high, 2),
                    "to": finding.reference,
                }
            )
        lines.append({"probe": probe, "figure": name, "cells": cells})
    return lines


def _probe_reference(runs: Sequence[ComparedRun]) -> str | None:
    """The model that all differences are taken to; None where they are not taken to the same one."""
    figures = (finding for run in runs for finding in run.run.findings.figures)
    used = {finding.reference for finding in figures if finding.model == "unlearned"}
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
        of_model = [(run, curve) for run, curve in curves if curve.model == model]
        if of_model:
            run, curve = of_model[0]
            is_shared = len({run.weights(model) for run, _ in of_model}) == 1
            label = model if is_shared else f"{model} of run {run.place}"
            return [Line(label, curve.x, curve.y, LOOKS[curve.model])]
    return []


def _csv(comparison: RunComparison) -> str:
    """A row for each run with everything that the page has of it."""
    rows = zip(comparison.runs, comparison.changes, comparison.differing, strict=True)
    lines = [_csv_line(run, changes, differing, comparison.planes) for run, changes, differing in rows]
    names = list(dict.fromkeys(name for line in lines for name in line))
    return csv_text([names, *([line.get(name) for name in names] for line in lines)])


def _csv_line(
    run: ComparedRun, changes: Changes, differing: Mapping[str, str], planes: Sequence[Plane]
) -> dict[str, str | float | None]:
    record = run.run.record
    line: dict[str, str | float | None] = {
        "run": run.name,
        "method": record.method.name if record.method else None,
        "settings": "; ".join(f"{name}={value}" for name, value in differing.items()),
        "verdict": record.verdict.word if record.verdict else None,
        "specific": record.verdict.specific.word if record.verdict else None,
        "claim": record.claim.level,
        "training_seconds": record.durations.training,
    }
    for set_name, change in changes.items():
        for end, value in zip(("", "_low", "_high"), change or (None, None, None), strict=True):
            line[f"{set_name}_to_{BESIDE[set_name]}{end}"] = value
    for plane in planes:
        if run.place in plane.points:
            line[plane.name.replace("-", "_")] = run.place in plane.front
    line |= {f"require {outcome.requirement}": outcome.state for outcome in run.run.requirements}
    for finding in run.run.findings.figures:
        if finding.model == "unlearned":
            line |= {f"{finding.figure} {end}": getattr(finding, end) for end in ENDS}
    return line
