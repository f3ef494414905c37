"""Options of all verbs of `efface requests`."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from efface.ledger.opening import Ledger

LedgerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="The ledger's folder; else EFFACE_LEDGER, else this folder or the nearest above it that is one.",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who does this, as the events name it; else the user of this machine."),
]
Request = Annotated[str, typer.Argument(help="The request: our id, such as R-00017, or its sender's.")]


def open_ledger(place: Path | None) -> Ledger:
    """The ledger that a verb works on."""
    from efface.ledger.opening import Ledger

    return Ledger.open(place)


def actor(by: str | None) -> str:
    """Who works at the command line."""
    return by or getpass.getuser()


def day(time: str | datetime) -> str:
    """The day of an ISO time, as tables have it."""
    return (time if isinstance(time, str) else time.isoformat())[:10]
