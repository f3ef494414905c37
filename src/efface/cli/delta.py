"""`efface delta` and `efface apply`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.wording import counted

if TYPE_CHECKING:
    from efface.runs.delta import Delta


def delta(
    run: Annotated[Path, typer.Argument(help="A finished run that made a model.")],
    base: Annotated[
        Path | None,
        typer.Option(help="Where the model lies with which the run began, if it was moved since."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file. RUN/delta.safetensors without.")] = None,
    json_: o.Json = False,
) -> None:
    """Write what a run changed in a model as one file, to ship in place of the whole.

    It holds the tensors that are new, bit for bit, and the small files beside them. `efface apply BASE DELTA` makes the
    run's model of it again.
    """
    from efface.runs.delta import write_delta

    _tell(write_delta(run, base, out), json_)


def apply(
    base: Annotated[
        Path, typer.Argument(help="The model that the delta was made from: a folder or a file of weights.")
    ],
    delta: Annotated[Path, typer.Argument(help="A delta.safetensors.")],
    out: Annotated[Path | None, typer.Option(help="The folder for the model that comes out.")] = None,
    json_: o.Json = False,
) -> None:
    """Make a run's model of its base and a delta: the same files, bit for bit.

    The digests of both ends stand in the delta: the base is compared before, and every file that comes out before it gets
    its name. Exit code 5 for a delta that was changed.
    """
    from efface.errors import InputError
    from efface.runs.delta import apply_delta

    if out is None:
        raise InputError("say with --out FOLDER where the model shall lie")
    _tell(apply_delta(base, delta, out), json_)


def _tell(made: Delta, json_: bool) -> None:
    """What lies there now, and by which digests it can be told."""
    facts, size = made.facts, sum(path.stat().st_size for path in made.files)
    if json_:
        o.show(
            {
                "path": str(made.path),
                "bytes": size,
                "changed": made.changed,
                "tensors": made.tensors,
                "base": facts.base,
                "weights": facts.weights,
                "record": facts.record,
            }
        )
        return
    o.say(f"{made.path}: {size:,} bytes; {made.changed} of {counted(made.tensors, 'tensor')} are new")
    o.say(f"weights {facts.weights}, of the record {facts.record}")
