"""The tables of a benchmark: what stands in each cell, `results.csv` and `results.md`. All is made from its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from efface.benchmark.results import (
    Agreement,
    BenchResults,
    BenchRow,
    BenchTable,
    Estimate,
    Measure,
    TaskResults,
)
from efface.documents import csv_text
from efface.files import write_text
from efface.runs.score import ScoreRange
from efface.wording import DECIDES, bound, counted, decimals, figure, interval, printable

Cell = tuple[str, str | None]
"""A figure and its bounds, in few signs."""
NONE = "none"
MOST_DECIMALS = 6
CLOSE_TO_ZERO = 1e-12
"""Means of differences that cancel leave rounding, which is no figure."""
BOOTSTRAP = (
    "Bootstrap draws models with replacement, and models that are drawn twice tie: the same law scores lower than without "
    "(official F, N = 32: about 0.15 in place of 0.19). Its scores are not to be read beside the ceiling, and its tau with "
    "reuse-n-n compares a pool with itself."
)


@dataclass(frozen=True)
class ColumnsOf:
    """One table of the page: its title, its columns, and a line for each row."""

    title: str
    columns: list[Measure]
    lines: list[tuple[BenchRow, list[Cell]]]


def write_csv(results: BenchResults, folder: Path) -> Path:
    """`results.csv`: a line for each figure, with its mean, its interval and what it is the mean of."""
    rows = [row for task in results.tasks.values() for table in task.tables for row in table.rows]
    most = max((len(found.each) for row in rows for found in row.measures.values()), default=0)
    each = [f"each_{number}" for number in range(most)]
    lines: list[Sequence[object]] = [
        ["task", "corruption", "row", "settings", "measure", "set", "mean", "low", "high", *each]
    ]
    sets = {measure.name: measure.of_set for measure in results.measures}
    for name, task in results.tasks.items():
        for table in task.tables:
            for row in table.rows:
                place = [name, table.corruption or "", row.label, row.settings]
                for measure, found in row.measures.items():
                    ends = ["" if end is None else end for end in (found.low, found.high)]
                    lines.append([*place, measure, sets[measure], found.value, *ends, *found.each])
                for count in ("failed", "cut"):
                    if getattr(row, count):
                        lines.append([*place, f"{count} runs", "", getattr(row, count), "", ""])
        for mode, levels in task.levels.items():
            for level in ("ceiling", "floor", "doing_nothing"):
                ends_of = getattr(levels, level)
                if ends_of:
                    label = level.replace("_", " ")
                    about = [name, task.tables[0].corruption or "", label, "reference", mode, "forget"]
                    lines.append([*about, ends_of.value, ends_of.low, ends_of.high])
    path = Path(folder) / "results.csv"
    write_text(path, csv_text(lines))
    return path


def write_markdown(results: BenchResults, folder: Path) -> Path:
    """`results.md`: the tables for a document, with what they must be read beside."""
    lines = [f"# Unlearning {results.kind}", "", reading(results)]
    for name, task in results.tasks.items():
        for table in task.tables:
            lines += ["", f"## {_escaped(title_of(name, table))}", ""]
            lines += [
                f"- {one}"
                for one in (*strength(table), *(levels_in_words(task) if _is_first(task, table) else ()))
            ]
            for part in tables_of(results, table):
                verdicts = has_verdicts(table)
                headings = [*["is it gone?"] * verdicts, *(measure.heading for measure in part.columns)]
                goals = [*[""] * verdicts, *(measure.goal for measure in part.columns)]
                lines += ["", f"**{part.title}**", ""]
                lines += [
                    f"| # | row | settings | {' | '.join(headings)} |",
                    "|---|---|---|" + "---|" * verdicts + "---:|" * len(part.columns),
                ]
                lines.append(f"| | *goal* | | {' | '.join(goals)} |")
                for row, cells in part.lines:
                    said = [row.verdict.title if row.verdict else ""] * verdicts
                    said += [value + (f" ({ends})" if ends else "") for value, ends in cells]
                    place = [str(row.place or ""), _escaped(row.label), row.settings]
                    lines.append(f"| {' | '.join([*place, *said])} |")
            told_of = [f"- {_escaped(text)}" for row in table.rows if (text := remark_line(row))]
            lines += ["", *told_of] if told_of else []
        lines += _orders(task)
        lines += ["", *(f"- {printable(note)}" for note in task.notes)] if task.notes else []
    path = Path(folder) / "results.md"
    write_text(path, "\n".join([*lines, ""]))
    return path


def title_of(name: str, table: BenchTable) -> str:
    """What a table is of."""
    return name if table.corruption is None else f"{name}: {table.corruption}"


def reading(results: BenchResults) -> str:
    """What every figure is, in a sentence."""
    n, percent = results.models, f"{100 * results.confidence:g} %"
    if results.kind == "classifiers":
        return (
            f"{n} unlearned models of each method and experiment stand against {n} retrained ones and then {n} others, in "
            f"the setup {results.headline}: every experiment starts from another original. Figures are means over "
            f"experiments, bounds are Student's {percent} over them."
        )
    return (
        f"Every figure is a mean over {n} seeds: an original, a model retrained without the forget images, and for each "
        f"method a model unlearned from that original; bounds are Student's {percent} over seeds, on these images."
    )


def strength(table: BenchTable) -> list[str]:
    """Whether the originals remember, which decides whether a table counts; and, as a label, how well they restore."""
    return [*_memory(table), *_stronger(table)]


def _memory(table: BenchTable) -> list[str]:
    """In the words of the verdicts below, so that the two never say otherwise."""
    gap, verdict = table.rows[0].forget_gap, table.rows[0].verdict
    over = []
    if gap and gap.low is not None:
        over.append("over seeds, the forget gap of the originals is {} ({})".format(*figures(gap)))
    if verdict and verdict.gap:
        over.append(f"over photos, their figure less the retrained models' is {verdict.gap}")
    if table.memory is None or not over:
        return []
    if table.memory:
        return [f"Memory is shown: {'; '.join(over)}. This table counts."]
    why = verdict.reason if verdict else f"No memory was shown: {'; '.join(over)}."
    return [f"{why} The figures below tell nothing of forgetting."]


def _stronger(table: BenchTable) -> list[str]:
    if table.corruption is None:
        return []
    error = table.rows[0].unseen_error
    if not table.fills or error is None:
        return [
            "Stronger than filling: not known, for there are no neutral images, or the corruption hides nothing that could "
            "be filled."
        ]
    value, ends = figures(error)
    filled = ", ".join(
        f"with the {name} {figures(error.model_copy(update={'value': fill}))[0]}"
        for name, fill in table.fills.items()
    )
    said = (
        f"Hole error of the originals on neutral images {value} ({ends}); filled without a model, {filled}."
    )
    return [f"Stronger than filling: {'yes' if table.stronger else 'no'} (by 20 % or more). {said}"]


def has_verdicts(table: BenchTable) -> bool:
    """Whether rows say if it is gone; results from before they did have none."""
    return any(row.verdict for row in table.rows)


def levels_in_words(task: TaskResults) -> list[str]:
    """What each forgetting score is read between."""
    said = []
    for mode, levels in task.levels.items():
        ceiling, ends = figures(levels.ceiling, 4)
        nothing = f", doing nothing {figures(levels.doing_nothing, 4)[0]}" if levels.doing_nothing else ""
        overlap = (
            ""
            if levels.measurable
            else " Floor and ceiling overlap: this number of models cannot show anything."
        )
        said.append(
            f"F {mode}: ceiling {ceiling} ({ends}), floor {figure(levels.floor.value)}{nothing}. "
            f"Power {100 * levels.power:.0f} %.{overlap}"
        )
    return said


def tables_of(results: BenchResults, table: BenchTable) -> Iterator[ColumnsOf]:
    """The tables of the page in their order. What no row has a figure of has no column."""
    there = {name for row in table.rows for name in row.measures}
    columns: dict[str, list[Measure]] = {}
    for measure in results.measures:
        if measure.table and measure.name in there:
            columns.setdefault(measure.table, []).append(measure)
    for title, measures in columns.items():
        lines = [(row, [cell(row, measure) for measure in measures]) for row in table.rows]
        yield ColumnsOf(title, measures, lines)


def cell(row: BenchRow, measure: Measure) -> Cell:
    """A figure and its bounds, in few signs; `none` where there is no number."""
    found = row.measures.get(measure.name)
    if found is None or (measure.of_methods and row.kind != "method"):
        return NONE, None
    if measure.decides is not None:
        return "yes" if found.value <= measure.decides else "no", f"p = {figure(found.value, 2)}"
    if measure.percent:
        return f"{100 * found.value:.0f} %", None
    return figures(found)


def figures(found: Estimate | ScoreRange, digits: int = 3) -> Cell:
    """A value and its bounds (None: it has none), all with as many decimals as tell them apart, at most 6.

    digits: significant ones of the value.

    >>> figures(ScoreRange(value=0.997, low=0.9968, high=0.9972))
    ('0.9970', '0.9968 to 0.9972')
    """
    value, low, high = (
        0.0 if one and abs(one) < CLOSE_TO_ZERO else one for one in (found.value, found.low, found.high)
    )
    assert value is not None
    if low is None or high is None:
        return figure(value, digits), None
    largest = max(abs(one) for one in (value, low, high))
    if largest and not 1e-6 <= largest < 1e7:
        return figure(value, digits), f"{figure(low, digits)} to {figure(high, digits)}"
    places = least = decimals(value if abs(value) >= 1e-6 else largest, digits)
    # all are rounded alike, so bounds never stand on the wrong side of their value
    while places < max(least, MOST_DECIMALS) and _hides_a_difference(value, low, high, places):
        places += 1
    value_text, *ends = (
        bound(one, places, decides) if one else "0"
        for one, decides in ((value, ()), (low, DECIDES), (high, DECIDES))
    )
    return value_text, " to ".join(ends)


def remarks(row: BenchRow) -> str:
    """What a reader must know of a row: cut runs, failures, what is odd about it."""
    parts = {
        "original": ["doing nothing"],
        "retrained": ["retrained models against other retrained ones"],
        "method": [],
    }[row.kind]
    if row.cut:
        parts.append(f"cut at the limit in {row.cut} of {row.runs} runs")
    reason = " ".join((row.reason or "no reason is known").split())
    if row.failed:
        parts.append(f"failed in {row.failed} of {row.runs} runs: {reason}")
    elif row.reason:
        parts.append(reason)
    if row.failure_file:
        parts.append(f"kept in {row.failure_file}, tried a second time with --retry-failed")
    if row.settings == "default = tuned":
        parts.append("the default settings were the best of all trials")
    if not row.like_for_like:
        parts.append("its models are committees, the retrained ones single networks: no like for like")
    if row.kind == "method" and (row.deterministic or row.alike):
        how = "deterministic" if row.deterministic else "measured"
        parts.append(f"{how}: its runs from one original are all alike")
    return "; ".join(parts)


def remark_line(row: BenchRow) -> str:
    """The same with the row's label; empty where there is nothing to say."""
    text = remarks(row)
    return f"{row.label} ({row.settings}): {text}" if text else ""


def scores_by_setup(task: TaskResults) -> list[tuple[str, dict[str, Cell]]]:
    """Each method with its official and robust F in every setup, means over experiments; `none` where a run is missing."""
    labels = dict.fromkeys(row.label for row in task.tables[0].rows if row.kind == "method")

    def mean(setup: str, label: str, mode: str) -> str:
        each = task.setups[setup].scores[mode].get(label)  # type: ignore[index]
        return figure(fmean(each), 3) if each else NONE

    return [
        (
            label,
            {setup: (mean(setup, label, "official"), mean(setup, label, "robust")) for setup in task.setups},
        )
        for label in labels
    ]


def tau_cells(found: Agreement) -> Cell:
    """Kendall's tau and its interval, with two decimals."""
    if found.tau is None or found.low is None or found.high is None:
        return NONE, None
    return bound(found.tau, 2, ()), interval(found.low, found.high, places=2)


def _orders(task: TaskResults) -> list[str]:
    """Scores by setup, and how alike two ways of measuring order the methods."""
    lines: list[str] = []
    if len(task.setups) > 1:
        setups = list(task.setups)
        lines += [
            "",
            "F official / F robust in every setup, default settings, means over experiments:",
            "",
        ]
        lines += [f"| method | {' | '.join(setups)} |", "|---|" + "---:|" * len(setups)]
        for label, scores in scores_by_setup(task):
            lines.append(
                f"| {_escaped(label)} | {' | '.join(' / '.join(map(str, scores[one])) for one in setups)} |"
            )
        lines += ["", BOOTSTRAP] if "bootstrap" in setups else []
    if task.agreements:
        lines += ["", "Order of methods under two ways of measuring, Kendall's tau-b:", ""]
        lines += ["| one | other | methods | tau | interval |", "|---|---|---:|---:|---|"]
        for found in task.agreements:
            tau, ends = tau_cells(found)
            lines.append(f"| {found.one} | {found.other} | {found.methods} | {tau} | {ends or ''} |")
    return lines


def failures(table: BenchTable) -> list[str]:
    """The rows of which runs cannot be had."""
    return [f"{row.label}: {counted(row.failed, 'run')} cannot be had" for row in table.rows if row.failed]


def _is_first(task: TaskResults, table: BenchTable) -> bool:
    return table is task.tables[0]


def _hides_a_difference(value: float, low: float, high: float, places: int) -> bool:
    return any(one != value and f"{one:.{places}f}" == f"{value:.{places}f}" for one in (low, high))


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|")
