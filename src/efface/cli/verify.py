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
    json_: o.Json = False,
) -> None:
    """Check a run against its record.

    Computes every digest again and says exactly what does not match; exit code 5 if anything does not."""
    from efface.errors import Mismatch
    from efface.runs.verification import verify as check

    checks = check(run, source_models)
    if json_:
        o.show(
            {"run": str(run), "checks": [asdict(c) for c in checks], "passed": all(c.passed for c in checks)}
        )
    else:
        width = max(len(c.what) for c in checks)
        for found in checks:
            typer.echo(f"{found.what:<{width}}  {found.outcome}{'  ' + found.detail if found.detail else ''}")
    failed = [found for found in checks if not found.passed]
    if failed:
        raise Mismatch(f"{len(failed)} of {len(checks)} checks failed: {', '.join(c.what for c in failed)}")
