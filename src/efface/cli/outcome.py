"""What a finished job prints: a few lines for people, or JSON for machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.table import Table

from efface.cli.options import show
from efface.documents import read_json
from efface.errors import RequirementsNotMet
from efface.evaluation.results import MODELS, SETS, Row, find
from efface.metrics.catalogue import METRICS
from efface.probes.findings import Finding, Findings
from efface.progress import PlainConsole
from efface.runs.requirements import summary
from efface.wording import interval

if TYPE_CHECKING:
    from efface.jobs.run import RunResult

WIDTH_OF_FILES = 120
"""Columns where the output goes into a file or another program, which have no width of their own."""


def tell_run(result: RunResult, json_: bool) -> None:
    """Where the run lies, its figures, outcomes and verdict. Under torchrun only the first process speaks."""
    if not _first():
        return
    run, rows, probes, outcomes = result.run, result.rows, result.probes, result.requirements
    if json_:
        found: dict[str, JsonValue] = {"run": str(run), "results": [asdict(row) for row in rows]}
        if probes is not None:
            # as the file has it: null for what JSON has no number for
            found |= {"probes": read_json(run / "probes.json")}
        if outcomes:
            found |= {"requirements": [outcome.as_dict() for outcome in outcomes]}
        if result.verdict:
            found |= {"verdict": result.verdict.as_dict()}
        show(found)
        return
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=WIDTH_OF_FILES)
    console.print(_table_of_rows(rows))
    if probes is not None and probes.figures:
        console.print(_table_of_probes(probes))
    for name in ("model", "report.html", "record.json", "pictures.html"):
        if (run / name).exists():
            console.print(f"{run / name}", soft_wrap=True)
    for outcome in outcomes:
        console.print(f"{outcome.state.upper()}  {outcome.requirement}  {outcome.words}", soft_wrap=True)
    if outcomes:
        console.print(summary(outcomes), soft_wrap=True)
    if result.verdict:
        console.print(f"Is it gone? {result.verdict.said}", soft_wrap=True)


def refuse_unmet(result: RunResult) -> None:
    """Raise `RequirementsNotMet` unless all requirements are met and the model is not ruined; in the first process only."""
    unmet = any(outcome.state != "met" for outcome in result.requirements)
    ruined = result.verdict is not None and result.verdict.word == "ruined"
    if _first() and (unmet or ruined):
        said = [summary(result.requirements)] * unmet + ["The unlearned model is ruined."] * ruined
        raise RequirementsNotMet(f"{' '.join(said)} The run itself is complete.")


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _table_of_rows(rows: Sequence[Row]) -> Table:
    models = [name for name in MODELS if any(row.model == name for row in rows)]
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("set")
    table.add_column("metric")
    for name in (*models, "better"):
        table.add_column(name, justify="right")
    for set_name in SETS:
        for metric in METRICS:
            found = [find(rows, model, set_name, metric) for model in models]
            if any(found):
                first = next(row for row in found if row)
                better = first.direction.replace("match_retrained", "as retrained")
                table.add_row(set_name, metric, *[_figure(row) for row in found], better)
    return table


def _table_of_probes(findings: Findings) -> Table:
    """One line for each figure: all models, and how far the unlearned one is from its reference."""
    models = [name for name in MODELS if any(one.model == name for one in findings.figures)]
    beside = next(
        (one.reference for one in findings.figures if one.model == "unlearned" and one.reference), None
    )
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("figure of a probe", overflow="fold")
    for heading in (*models, f"to {beside}" if beside else "difference", "interval"):
        table.add_column(heading, justify="right")
    for figure in dict.fromkeys(one.figure for one in findings.figures):
        found = [findings.find(figure, model) for model in models]
        table.add_row(figure, *[_figure(one) for one in found], *_difference(findings.find(figure)))
    return table


def _difference(found: Finding | None) -> tuple[str, str]:
    if found is not None and found.goal == "above" and found.low is not None and found.high is not None:
        return "itself", f"{found.low:+.3g} to {found.high:+.3g}"
    if found is None or found.difference is None:
        return "-", ""
    if found.difference_low is None or found.difference_high is None:
        return f"{found.difference:+.3g}", ""
    return f"{found.difference:+.3g}", interval(found.difference_low, found.difference_high) or ""


def _figure(row: Row | Finding | None) -> str:
    if row is None or row.value is None:
        return "-"
    return f"{row.value:.4g}"
