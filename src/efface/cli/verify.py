"""`efface verify`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def verify(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    source_models: Annotated[
        bool, typer.Option(help="Read the models again that the run started from, where they still lie.")
    ] = True,
    key: Annotated[
        Path | None, typer.Option(help="The key of the run, if `run.key` is kept elsewhere.")
    ] = None,
    json_: o.Json = False,
) -> None:
    """Check a run against its seal and its record.

    Computes every digest again. Each check matches, differs, could not be made (and why), or is of a file that nothing
    binds; exit code 5 if anything differs."""
    from efface.errors import Mismatch
    from efface.runs.verification import summary
    from efface.runs.verification import verify as check
    from efface.wording import printable

    checks = check(run, source_models, key)
    differing = [found for found in checks if not found.passed]
    if json_:
        o.show(
            {
                "run": str(run),
                "checks": [asdict(found) for found in checks],
                "passed": not differing,
                "summary": summary(checks),
            }
        )
    else:
        width = max(len(printable(found.what)) for found in checks)
        for found in checks:
            line = f"{printable(found.what):<{width}}  {found.outcome:<11}  {printable(found.detail)}"
            o.say(line.rstrip())
        o.say(summary(checks))
    if differing:
        what = ", ".join(printable(found.what) for found in differing)
        raise Mismatch(f"{len(differing)} of {len(checks)} checks failed: {what}")
