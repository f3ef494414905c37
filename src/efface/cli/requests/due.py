"""`efface requests due`"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.list import tell_requests
from efface.cli.requests.options import LedgerFolder, open_ledger
from efface.wording import counted


def due(
    within: Annotated[int, typer.Option(help="Days from now on within which they are due.", min=0)] = 7,
    most: Annotated[int, typer.Option(help="How many, at most.", min=1, max=10_000)] = 100,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """List requests that are late or soon due and not answered, the most urgent first.

    Example: efface requests due --within 14"""
    from efface.ledger.requests import list_requests

    with open_ledger(ledger).reading() as session:
        requests = list_requests(session, most=most, due_before=datetime.now(UTC) + timedelta(days=within))
    if json_:
        o.show({"requests": [one.as_dict() for one in requests]})
        return
    tell_requests(requests)
    late = sum(one.overdue for one in requests)
    o.say(f"{counted(len(requests), 'request')} due within {counted(within, 'day')}, {late} of them overdue")
