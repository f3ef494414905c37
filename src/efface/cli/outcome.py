"""What a finished job prints: a few lines for people, or JSON for machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from efface.cli.options import show
from efface.evaluation.results import MODELS, SETS, Row, find
from efface.metrics.catalogue import ALL_METRICS


def tell_run(run: Path, rows: Sequence[Row], json_: bool) -> None:
    """Where the run lies and its figures. Under torchrun only the first process speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    if json_:
        show({"run": str(run), "results": [asdict(row) for row in rows]})
        return
    console = Console(highlight=False)
    models = [name for name in MODELS if any(row.model == name for row in rows)]
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("set")
    table.add_column("metric")
    for name in (*models, "better"):
        table.add_column(name, justify="right")
    for set_name in SETS:
        for metric in ALL_METRICS:
            found = [find(rows, model, set_name, metric) for model in models]
            if any(found):
                first = next(row for row in found if row)
                better = first.direction.replace("match_retrained", "as retrained")
                table.add_row(set_name, metric, *[_figure(row) for row in found], better)
    console.print(table)
    for name in ("model", "report.html", "record.json", "pictures.html"):
        if (run / name).exists():
            console.print(f"{run / name}", markup=False, soft_wrap=True)


def _figure(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    return f"{row.value:.4g}"
