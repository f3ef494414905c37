"""`efface requests list`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, day, open_ledger
from efface.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from efface.ledger.requests import RequestFacts


def list_(
    state: Annotated[
        list[State] | None,
        typer.Option(help="Only requests in this state. May be repeated.", show_choices=True),
    ] = None,
    after: Annotated[int, typer.Option(help="Go on behind the request of this number.")] = 0,
    most: Annotated[int, typer.Option(help="How many, at most.", min=1, max=10_000)] = 100,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """List requests, the oldest first, a page at a time.

    Example: efface requests list --state received --state located"""
    from efface.ledger.requests import count_by_state, list_requests

    with open_ledger(ledger).reading() as session:
        requests = list_requests(session, state or (), after, most)
        counts = count_by_state(session)
    if json_:
        o.show({"requests": [one.as_dict() for one in requests], "counts": counts})
        return
    tell_requests(requests)
    o.say(", ".join(f"{count} {name}" for name, count in counts.items()) or "no requests")
    if len(requests) == most:
        o.say(f"go on with: --after {int(requests[-1].id.removeprefix('R-'))}")


def tell_requests(requests: Iterable[RequestFacts]) -> None:
    """A line for each request."""
    for one in requests:
        late = "OVERDUE" if one.overdue else ""
        located = ", ".join(f"{count} {decision}" for decision, count in one.located.items())
        line = (
            f"{one.id}  {one.state:<11}  due {day(one.due)}  {late:<7}  {one.regime or '-':<6}  {one.sender}"
        )
        o.say(f"{line}  {one.images} supplied{'; ' + located if located else ''}")
