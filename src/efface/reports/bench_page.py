"""The page of a benchmark: `DIR/report.html`, one file that needs nothing beside it, made from its results alone.

Where pictures were asked for, `pictures.html` is a separate file: it shows images that were to be forgotten.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from efface.benchmark.results import (
    Agreement,
    BenchResults,
    BenchRow,
    BenchTable,
    CostAfter,
    CostBefore,
    EmbeddingMap,
    Pareto,
    TaskResults,
)
from efface.documents import yaml_text
from efface.files import write_text
from efface.reports.bench_tables import (
    BOOTSTRAP,
    figures,
    has_verdicts,
    levels_in_words,
    reading,
    remarks,
    scores_by_setup,
    strength,
    tables_of,
    tau_cells,
    title_of,
)
from efface.reports.canvas import GREY, LOOKS, SERIES, Chart, Look
from efface.reports.charts import (
    Cloud,
    Dot,
    Guide,
    Line,
    Point,
    cloud_chart,
    dot_chart,
    line_chart,
    plane_chart,
)
from efface.reports.page import render
from efface.wording import counted, duration, figure

GUIDES = {"ceiling": "#009e73", "doing nothing": LOOKS["original"].colour, "floor": "#cc79a7"}
RELEARNING = {
    "retain": "fine-tuned on retain images",
    "few": "fine-tuned on a few forget images, the others measured",
}
PARTS = {
    "default": "default settings, all setups",
    "tuning": "tuning",
    "tuned": "as tuned",
    "tuned_at_most": "as tuned, at most",
}
RANK_WIDTH = 4.6


def write_bench_page(results: BenchResults, folder: Path) -> Path:
    """Write `folder/report.html`, and `pictures.html` if there are sheets of pictures; returns the path of the page."""
    path = Path(folder) / "report.html"
    write_text(path, render("bench.html", **page_content(results)))
    sheets = [
        (title_of(name, table), sheet, _data_url(Path(folder) / sheet.file))
        for name, task in results.tasks.items()
        for table in task.tables
        for sheet in table.sheets
    ]
    if sheets:
        write_text(Path(folder) / "pictures.html", render("bench_pictures.html", sheets=sheets))
    return path


def page_content(results: BenchResults) -> dict[str, Any]:
    """What the template shows, as plain values."""
    before = results.cost.before
    return {
        "results": results,
        "reading": reading(results),
        "tasks": [
            _task(results, name, task, f"task{number}")
            for number, (name, task) in enumerate(results.tasks.items(), 1)
        ],
        "several": sum(len(task.tables) for task in results.tasks.values()) > 1,
        "percent": f"{100 * results.confidence:g} %",
        "costs": [
            *_costs("before", before),
            *(_costs("after", after) if (after := results.cost.after) else ()),
        ],
        "expected": duration(before.total.seconds / before.workers),
        "wall": duration(results.cost.wall_seconds),
        "machine": machine_facts(results),
        "config": yaml_text(results.config).splitlines(),
        "bootstrap": BOOTSTRAP,
        "duration": duration,
    }


def machine_facts(results: BenchResults) -> list[tuple[str, str]]:
    """Where a benchmark was carried out."""
    machine, source = results.machine, results.machine.source
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items() if version)
    return [
        ("Processor", f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB"),
        ("Accelerators", ", ".join(machine.gpus) or "none"),
        ("System", f"{machine.platform}, Python {machine.python}"),
        ("Packages", packages),
        ("Source", (source.commit or "not known") + (" with changes" if source.changed else "")),
    ]


def _task(results: BenchResults, name: str, task: TaskResults, key: str) -> dict[str, Any]:
    return {
        "name": name,
        "facts": task.facts,
        "notes": task.notes,
        "limit": None if task.limit_seconds is None else duration(task.limit_seconds),
        "levels": levels_in_words(task),
        "tables": [
            _table(results, name, task, table, f"{key}-{number}")
            for number, table in enumerate(task.tables, 1)
        ],
        "setups": list(task.setups),
        "scores": scores_by_setup(task) if len(task.setups) > 1 else [],
        "matrix": _matrix(task),
        "agreements": [(found, *tau_cells(found)) for found in task.agreements],
        "tau_chart": _tau_chart(task.agreements, f"{key}-tau"),
    }


def _table(
    results: BenchResults, name: str, task: TaskResults, table: BenchTable, key: str
) -> dict[str, Any]:
    is_first = table is task.tables[0]
    # scores and relearning are those of the corruption that unlearning sees
    charts = [_pareto_chart(table, table.pareto, f"{key}-pareto")] if table.pareto else []
    if is_first:
        charts += [_rank_chart(task, mode, f"{key}-{mode}") for mode in task.levels]
        charts += _relearning_charts(table, f"{key}-relearning")
    return {
        "key": key,
        "title": title_of(name, table),
        "is_first": is_first,
        "forgetting": table.memory is not False,
        "strength": strength(table),
        "has_verdicts": has_verdicts(table),
        "parts": list(tables_of(results, table)),
        "remarks": [(row, text) for row in table.rows if (text := remarks(row))],
        "charts": [chart for chart in charts if chart],
        "maps": [_map_chart(table, found, f"{key}-map") for found in table.maps],
        "each": [_each(results, row) for row in table.rows],
    }


def _each(results: BenchResults, row: BenchRow) -> dict[str, Any]:
    """All measures of one row, and what it is."""
    shares = (f"{mode} {100 * share:.0f} %" for mode, share in row.share_of_ceiling.items())
    return {
        "row": row,
        "measures": [
            (measure, *figures(found, 4), ", ".join(figure(value, 3) for value in found.each))
            for measure in results.measures
            if (found := row.measures.get(measure.name))
        ],
        "shares": ", ".join(shares),
        "needs": ", ".join(row.needs) or "nothing but the model",
        "settings": ", ".join(f"{name} {value}" for name, value in row.section.items() if name != "name"),
        "runs": counted(row.runs, "run"),
    }


def _told(row: BenchRow) -> str:
    """A row as charts call it, by its number in the tables."""
    tuned = " (tuned)" if row.settings == "tuned" else ""
    return f"{row.place}  {row.label}{tuned}" if row.place else row.label


def _rank_chart(task: TaskResults, mode: str, name: str) -> Chart | None:
    """Every method's score with its interval, between the levels that it is read between."""
    levels = task.levels[mode]  # type: ignore[index]
    guides = {"ceiling": levels.ceiling, "doing nothing": levels.doing_nothing, "floor": levels.floor}
    dots = [
        Dot(
            row.label,
            found.value,
            found.low,
            found.high,
            look=LOOKS["retrained" if row.settings == "tuned" else "unlearned"],
            tick=_told(row),
        )
        for row in task.tables[0].rows
        if row.kind == "method" and (found := row.measures.get(mode))
    ]
    dots.sort(key=lambda dot: -dot.value)
    lines = [Guide(label, level.value, GUIDES[label]) for label, level in guides.items() if level]
    return dot_chart(name, f"F, {mode}, with its interval", f"F, {mode}", dots, lines, width=RANK_WIDTH)


def _pareto_chart(table: BenchTable, pareto: Pareto, name: str) -> Chart | None:
    points, references = list[Point](), list[Point]()
    for found in pareto.points:
        row = table.rows[found.row]
        ends = (found.x_low, found.x_high, found.y_low, found.y_high)
        point = Point(row.label, found.x, found.y, *ends, key=str(row.place or ""), on_front=found.on_front)
        (points if row.kind == "method" else references).append(point)
    return plane_chart(name, pareto.title, pareto.x_name, pareto.y_name, points, references)


def _relearning_charts(table: BenchTable, name: str) -> list[Chart | None]:
    """The forget error along fine-tuning, means over seeds: the references, and the first methods of the table."""
    charts = []
    for after, about in RELEARNING.items():
        lines = [
            Line(
                str(row.place or row.kind),
                curve.steps,
                curve.mean,
                _look(row),
            )
            for row in table.rows
            for curve in row.curves
            if curve.after == after and (row.place is None or row.place <= len(SERIES))
        ]
        title = f"Relearning: {about}"
        charts.append(line_chart(f"{name}-{after}", title, "steps", "log error on forget images", lines))
    return charts


def _look(row: BenchRow) -> Look:
    return SERIES[row.place - 1] if row.place else LOOKS[row.kind]


def _map_chart(table: BenchTable, found: EmbeddingMap, name: str) -> Chart:
    """Filled marks are forget images, hollow ones retain images."""
    row = table.rows[found.row]
    clouds = [
        Cloud(f"{group.model}, {group.of_set}", group.points, LOOKS[group.model], group.of_set == "forget")
        for group in found.groups
    ]
    return cloud_chart(f"{name}-{row.place}", _told(row), clouds)


def _tau_chart(agreements: list[Agreement], name: str) -> Chart | None:
    dots = [
        Dot(f"row {number}", found.tau, found.low, found.high)
        for number, found in enumerate(agreements, 1)
        if found.tau is not None
    ]
    title = "tau-b of each pair, with intervals over methods"
    return dot_chart(name, title, "Kendall's tau-b", dots, [Guide("none", 0.0, GREY)], limits=(-1.05, 1.05))


def _matrix(task: TaskResults) -> list[tuple[str, list[str]]]:
    """tau between setups, a line for each."""
    tau = {frozenset((found.one, found.other)): tau_cells(found)[0] for found in task.agreements}
    return [
        (one, ["1.00" if one == other else tau.get(frozenset((one, other)), "none") for other in task.setups])
        for one in task.setups
    ]


def _costs(when: str, cost: CostBefore | CostAfter) -> list[tuple[str, ...]]:
    """A line for each part, and for all of them."""
    parts = {PARTS.get(name, name): part for name, part in cost.parts.items()}
    parts["together"] = cost.total
    return [
        (when, name, str(part.originals), str(part.retrained), str(part.unlearned), duration(part.seconds))
        for name, part in parts.items()
    ]


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
