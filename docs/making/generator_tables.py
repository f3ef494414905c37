"""The tables of `search.md`, `generator-benchmark.md` and `README.md`, from the results of the benchmarks behind them.

A table's name is a file in `benchmarks/results/generators/`, a corruption after a space where it is not the first, and
perhaps `paper` for the columns of the paper's tables or `short` for the few rows and columns of the README.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from scipy import stats

from efface.benchmark.results import BenchRow, Estimate, TaskResults, read_bench_results
from efface.wording import with_interval
from making.pictures import RESULTS

COLUMNS = {
    "shift": "equivalent shift",
    "forget_gap": "forget gap",
    "retain_cost": "retain cost",
    "neutral_cost": "neutral cost",
    "detectability": "detectability",
    "relearning_retain": "relearning, retain",
    "relearning_few": "relearning, few",
}
PAPER = ("hole_mse", "frechet_distance", "kernel_distance", "feature_cosine")
SCORED = ("robust F", "told apart")
SHORT_ROWS = 6
SHORT_COLUMNS = {"shift": "equivalent shift", "retain_cost": "retain cost"}


def table(comment: str) -> str:
    """The table that a comment asks for."""
    name, *options = comment.split(" ")
    results = read_bench_results(RESULTS / "generators" / f"{name}.json")
    parts = []
    for task, found in results.tasks.items():
        chosen = next((one for one in found.tables if one.corruption in options), found.tables[0])
        title = f"*{task}*\n\n" if len(results.tasks) > 1 else ""
        if "short" in options:
            best = [row for row in chosen.rows if row.kind == "method"][:SHORT_ROWS]
            parts.append("\n".join(plain_table([*best, chosen.rows[0]], SHORT_COLUMNS)) + "\n")
            continue
        make = paper_table if "paper" in options else plain_table
        parts.append(title + "\n".join(make(chosen.rows)) + "\n" + levels(found))
    return "\n".join(parts)


def plain_table(rows: Sequence[BenchRow], wanted: Mapping[str, str] = COLUMNS) -> Iterable[str]:
    """What the criteria of the search ask for, a line a method."""
    measured = [row for row in rows if row.measures]
    columns = {name: title for name, title in wanted.items() if any(name in row.measures for row in measured)}
    scored = any("robust" in row.measures for row in measured)
    titles = ["method", *(SCORED if scored else []), *columns.values(), "time"]
    yield "| " + " | ".join(titles) + " |"
    yield "|---" * len(titles) + "|"
    for row in measured:
        score = _score(row) if scored else []
        cells = [_estimate(row.measures.get(name)) for name in columns]
        time = "" if row.kind != "method" else f"{row.measures['time_share'].value:.0%}"
        yield "| " + " | ".join([_label(row), *score, *cells, time]) + " |"


def levels(task: TaskResults) -> str:
    """A sentence with what the scores of a table are to be read beside."""
    scored = [row for row in task.tables[0].rows if row.kind == "method" and "robust" in row.measures]
    if not scored:
        return ""
    robust, official = (task.levels[mode] for mode in ("robust", "official"))
    assert robust.doing_nothing is not None
    scores = [row.measures["robust"].value for row in scored]
    gaps = [-abs(row.measures["forget_gap"].value) for row in scored]
    tau = stats.kendalltau(scores, gaps).statistic
    best = max(scored, key=lambda row: row.measures["official"].value)
    return (
        f"\nRobust F: ceiling {robust.ceiling.value:.2f}, floor {robust.floor.value:.2f}, doing nothing "
        f"{robust.doing_nothing.value:.2f}. "
        f"Official F, which depends on a grid of thresholds made for classifiers: ceiling {official.ceiling.value:.3f}, "
        f"floor {official.floor.value:.3f}, highest {best.measures['official'].value:.3f} ({_label(best)}). "
        "Kendall's tau between the "
        f"order by robust F and the order by the distance of the forget gap from 0: {tau:.2f}.\n"
    )


def paper_table(rows: Sequence[BenchRow]) -> Iterable[str]:
    """The columns of the paper's tables, forget / retain / neutral in each."""
    measured = [row for row in rows if row.measures]
    columns = [name for name in PAPER if any(f"{name}_forget" in row.measures for row in measured)]
    yield "| method | " + " | ".join(name.replace("_", " ") for name in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in measured:
        cells = [
            "; ".join(_estimate(row.measures.get(f"{name}_{one}")) for one in ("forget", "retain", "neutral"))
            for name in columns
        ]
        yield "| " + " | ".join([_label(row), *cells]) + " |"


def _label(row: BenchRow) -> str:
    # a section within the settings is told apart by its name alone
    label = re.sub(r"=\{.*?\}", "", row.label)
    return "original (doing nothing)" if row.kind == "original" else label


def _score(row: BenchRow) -> list[str]:
    """Robust F, and whether the row is told apart from retraining; older results hold no p."""
    robust, p = (row.measures.get(name) for name in ("robust", "p"))
    # what retrained models score against each other is the ceiling, said below the table
    if robust is None or robust.high is None or row.kind == "retrained":
        return ["", ""]
    told = "yes" if robust.high < 1 else "no"
    return [
        with_interval(robust.value, robust.low, robust.high, 2),
        f"{told} (p = {p.value:.2g})" if p else told,
    ]


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return ""
    digits = 4 if abs(found.value) < 0.05 and (found.high is None or abs(found.high) < 0.1) else 2
    return with_interval(found.value, found.low, found.high, digits)
