"""`efface report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def report(
    runs: Annotated[list[Path], typer.Argument(help="A finished run; with --compare two or more.")],
    compare: Annotated[bool, typer.Option("--compare", help="Set several runs side by side.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="With --compare: the page, an .html file. A .csv file is written beside it."),
    ] = None,
) -> None:
    """Write the page of a run and the card of its model anew, or one page that compares several runs."""
    from efface.errors import InputError
    from efface.jobs.concluding import renew_report
    from efface.reports.compare_page import compare_runs

    if compare:
        if out is None:
            raise InputError("a comparison lies in no run's folder: say where with --out FILE.html")
        o.say(compare_runs(runs, out))
        return
    if len(runs) > 1:
        raise InputError(f"{len(runs)} runs: to set them side by side say --compare")
    if out is not None:
        raise InputError("the page of one run is its report.html; --out goes with --compare")
    o.say(renew_report(runs[0]))
