"""`efface requests init`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, actor


def init(
    ledger: Annotated[Path, typer.Argument(help="The folder for the ledger.")],
    database: Annotated[
        str | None,
        typer.Option(
            help="URL of its database, such as postgresql://user@host/name; else an SQLite file in it."
        ),
    ] = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Make a ledger, or bring the tables of one up to date after efface was updated.

    efface.toml in it names the database, the key of keyed ids, and the policy. Keep the key as you keep the images.

    Example: efface requests init ledger"""
    from efface.ledger.events import head
    from efface.ledger.opening import Ledger

    made = Ledger.create(ledger, database, actor(by))
    with made.reading() as session:
        end = head(session)
    if json_:
        o.show({"ledger": str(made.place), "head": end.as_dict()})
        return
    o.say(f"{made.place / 'efface.toml'}: ledger {end.ledger}, {end.number} events so far")
    o.say(f"{made.place / made.settings.policy}: your policy, to be read through before the first request")
    o.say(f"{made.place / made.settings.key}: the key of keyed ids; keep a copy apart from the database")
