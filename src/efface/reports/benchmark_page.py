"""The page of a benchmark: `DIR/report.html`, one file that needs nothing beside it, made from `results.json` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from efface.benchmark.table import MEASURES
from efface.files import write_text
from efface.reports.benchmark_tables import (
    BOOTSTRAP,
    SHOWN,
    ends_of,
    figures,
    in_every_setup,
    placed,
    remarks,
    value_of,
)
from efface.reports.canvas import GREY, LOOKS, Chart
from efface.reports.charts import Dot, Guide, dot_chart
from efface.reports.page import render
from efface.wording import counted, duration, figure

Results = Mapping[str, Any]
LINES = {"ceiling": "#009e73", "doing nothing": LOOKS["original"].colour, "floor": "#cc79a7"}
COSTS = {
    "published": "as published, all setups",
    "tuning": "tuning",
    "tuned": "as tuned",
    "tuned_at_most": "as tuned, at most",
    "total": "together",
    "total_at_most": "together, at most",
}


def write_benchmark_page(results: Results, folder: Path) -> Path:
    """Write `folder/report.html`, atomically; returns its path."""
    path = Path(folder) / "report.html"
    write_text(path, render("benchmark.html", **page_content(results)))
    return path


def page_content(results: Results) -> dict[str, Any]:
    """What the template shows, as plain values."""
    return {
        "results": results,
        "columns": list(SHOWN.values()),
        "rows": [
            {
                "place": place,
                "label": row["label"],
                "settings": row["settings"],
                "cells": [(value_of(row, name), ends_of(row, name)) for name in SHOWN],
                "remarks": remarks(row),
            }
            for place, row in placed(results["rows"])
        ],
        "levels": [_level(mode, found, results) for mode, found in results["levels"].items()],
        "charts": [chart for mode in ("official", "robust") if (chart := _rank_chart(results, mode))],
        "measures": MEASURES,
        "each": [_each(row) for row in results["rows"]],
        "experiments": results["setups"][results["headline"]]["experiments"],
        "matrix": _matrix(results),
        "setups": in_every_setup(results),
        "bootstrap": BOOTSTRAP if "bootstrap" in results["setups"] else None,
        "tau_chart": _tau_chart(results["stability"]),
        "agreements": [_agreement(one) for one in results["stability"]],
        "costs": _costs(results["cost"]),
        "wall": duration(results["cost"]["after"]["wall_seconds"]),
        "workers": results["cost"]["before"]["workers"],
        "expected": duration(3600 * results["cost"]["before"]["hours_at_most"]),
        "machine": machine_facts(results["machine"]),
        "config": yaml.safe_dump(results["config"], sort_keys=False).splitlines(),
        "limit": results["config"]["time_limit"],
        "tuning": results["config"]["tuning"],
        "duration": duration,
        "percent": f"{100 * results['config']['confidence']:g} %",
    }


def _level(mode: str, found: Mapping[str, Any], results: Results) -> dict[str, Any]:
    nothing = _value(results, "original", mode)
    ceiling, ends = figures(found["levels"]["ceiling"], 4)
    return {
        "mode": mode,
        "ceiling": ceiling,
        "ceiling_ends": ends,
        "floor": figure(found["floor"]),
        "nothing": "none" if nothing is None else figure(nothing),
        "power": f"{100 * found['power']:.0f} %",
        "measurable": found["measurable"],
    }


def _each(row: Mapping[str, Any]) -> dict[str, Any]:
    """All measures of one row, and what it is."""
    share = row["share_of_ceiling"]
    return {
        "title": f"{row['label']} ({row['settings']})",
        "measures": [
            {
                "name": name.replace("_", " "),
                "about": about,
                "value": figures(found, 4)[0],
                "interval": figures(found, 4)[1] or "none",
                "each": ", ".join(figure(value, 3) for value in found["each"]),
            }
            for name, about in MEASURES.items()
            if (found := row["measures"].get(name))
        ],
        "share": None if share is None else f"{100 * share:.0f} %",
        "needs": ", ".join(row["needs"]) or "nothing but the model",
        "settings": ", ".join(f"{name} {value}" for name, value in row["section"].items() if name != "name"),
        "remarks": remarks(row),
        "runs": counted(row["runs"], "run"),
    }


def _rank_chart(results: Results, mode: str) -> Chart | None:
    """Every row's score with its interval; the lines are what it is read between."""
    rows = [row for row in results["rows"] if row["measures"] and row["settings"] != "reference"]
    rows = sorted(rows, key=lambda row: -row["measures"][mode]["value"])
    found = results["levels"][mode]
    levels = {
        "ceiling": found["ceiling"],
        "doing nothing": _value(results, "original", mode),
        "floor": found["floor"],
    }
    guides = [Guide(name, value, LINES[name]) for name, value in levels.items() if value is not None]
    dots = [_dot(row, mode) for row in rows]
    title = f"F, {mode}, best first, with intervals over originals"
    return dot_chart(f"rank-{mode}", title, f"F, {mode}", dots, guides, width=3.6)


def _dot(row: Mapping[str, Any], mode: str) -> Dot:
    score, is_tuned = row["measures"][mode], row["settings"] == "tuned"
    label = row["label"] + (" (tuned)" if is_tuned else "")
    look = LOOKS["retrained" if is_tuned else "unlearned"]
    return Dot(label, score["value"], score["low"], score["high"], look)


def _tau_chart(found: Sequence[Mapping[str, Any]]) -> Chart | None:
    dots = [
        Dot(f"row {place}", one["tau"], one["low"], one["high"])
        for place, one in enumerate(found, 1)
        if one["tau"] is not None
    ]
    title = "tau-b of each pair, with intervals over methods"
    return dot_chart("tau", title, "Kendall's tau-b", dots, [Guide("no agreement", 0, GREY)], (-1.05, 1.05))


def _matrix(results: Results) -> list[dict[str, Any]]:
    """tau between setups, a line for each."""
    setups = list(results["setups"])
    tau = {(one["one"], one["other"]): one["tau"] for one in results["stability"]}
    lines = []
    for one in setups:
        cells = []
        for other in setups:
            value = 1.0 if one == other else tau.get((one, other), tau.get((other, one)))
            cells.append("none" if value is None else f"{value:.2f}".replace("-", "−"))
        lines.append({"setup": one, "cells": cells})
    return lines


def _agreement(one: Mapping[str, Any]) -> dict[str, Any]:
    minus = str.maketrans("-", "−")
    return {
        "one": one["one"],
        "other": one["other"],
        "methods": one["methods"],
        "tau": "none" if one["tau"] is None else f"{one['tau']:.2f}".translate(minus),
        "interval": "none"
        if one["low"] is None
        else f"{one['low']:.2f} to {one['high']:.2f}".translate(minus),
    }


def _costs(cost: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Before and after, a line for each part."""
    lines = []
    for when in ("before", "after"):
        for name, about in COSTS.items():
            part = cost[when].get(name)
            if part is not None:
                lines.append(
                    {"when": when, "part": about, **part, "time": duration(3600 * part["worker_hours"])}
                )
    return lines


def machine_facts(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a benchmark was carried out; the state of the source lies in a part of its own, or beside the rest."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    source = machine.get("source", machine)
    return [
        ("Processor", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"),
        ("Accelerators", ", ".join(machine["gpus"]) or "none"),
        ("System", f"{machine['platform']}, Python {machine['python']}"),
        ("Packages", packages),
        ("Source", (source["commit"] or "not known") + (" with changes" if source["changed"] else "")),
    ]


def _value(results: Results, label: str, measure: str) -> float | None:
    """The value of a reference row."""
    for row in results["rows"]:
        if row["label"] == label and row["settings"] == "reference" and row["measures"]:
            return float(row["measures"][measure]["value"])
    return None
