"""`efface statement`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def statement(
    run: Annotated[Path, typer.Argument(help="A finished run that made a model.")],
    json_: o.Json = False,
) -> None:
    """Write RUN/statement.json: an in-toto Statement v1 on the model, for tools that sign and keep evidence.

    Its subjects are the files of the model by sha256, its predicate the record and the digest of the seal. `efface verify`
    compares it with the run.
    """
    from efface.runs.statement import PREDICATE_TYPE, write_statement

    path = write_statement(run)
    if json_:
        o.show({"path": str(path), "predicate_type": PREDICATE_TYPE})
    else:
        o.say(f"{path}")
