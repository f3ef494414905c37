"""`efface report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="A finished run.")]) -> None:
    """Write the page of a run anew."""
    from efface.reports.page import write_report
    from efface.runs.record import read_record

    read_record(run)
    typer.echo(write_report(run))
