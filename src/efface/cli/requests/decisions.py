"""`efface requests confirm`, `reject`, `verify-identity`, `approve`, `refuse` and `withdraw`: what people decide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.list import tell_requests
from efface.cli.requests.options import By, LedgerFolder, Request, actor, open_ledger

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from efface.ledger.opening import Ledger
    from efface.ledger.tables import Request as Row

Numbers = Annotated[
    list[int] | None,
    typer.Argument(
        help="Numbers of located images: efface requests show lists them. Default: all open ones."
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, in words that the person may read.")]


def confirm(
    request: Request,
    images: Numbers = None,
    reason: Reason = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Say that located images are meant.

    Example: efface requests confirm R-00017 4 5"""
    from efface.requests.decide import confirm

    _decide(
        request,
        ledger,
        json_,
        lambda opened, session, row: confirm(opened, session, row, images or _open(row), actor(by), reason),
    )


def reject(
    request: Request,
    images: Numbers = None,
    reason: Reason = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Say that located images are not meant.

    Example: efface requests reject R-00017 6 --reason "another person" """
    from efface.requests.decide import reject

    _decide(
        request,
        ledger,
        json_,
        lambda opened, session, row: reject(opened, session, row, images or _open(row), actor(by), reason),
    )


def verify_identity(
    request: Request,
    how: Annotated[str, typer.Option("--how", help="How it was verified, and by whom.")],
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Note that the person's identity was verified, as the policy may want before approval.

    Example: efface requests verify-identity R-00017 --how "passport, by the front desk" """
    from efface.requests.decide import verify_identity

    _decide(
        request,
        ledger,
        json_,
        lambda opened, session, row: verify_identity(opened, session, row, actor(by), how),
    )


def approve(
    request: Request,
    reason: Reason = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Approve a request: `efface requests run` carries it out, once as many people as the policy wants have approved.

    Example: efface requests approve R-00017"""
    from efface.requests.decide import approve

    _decide(
        request, ledger, json_, lambda opened, session, row: approve(opened, session, row, actor(by), reason)
    )


def refuse(
    request: Request,
    reason: Annotated[str, typer.Option("--reason", help="Why, in words that the person reads.")],
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Refuse a request.

    Example: efface requests refuse R-00017 --reason "these are pictures of somebody else" """
    from efface.requests.decide import refuse

    _decide(
        request, ledger, json_, lambda opened, session, row: refuse(opened, session, row, actor(by), reason)
    )


def withdraw(
    request: Request,
    reason: Reason = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Withdraw a request, as the person may until work on it has begun.

    Example: efface requests withdraw R-00017"""
    from efface.requests.decide import withdraw

    _decide(
        request, ledger, json_, lambda opened, session, row: withdraw(opened, session, row, actor(by), reason)
    )


def _open(row: Row) -> list[int]:
    """Numbers of the images that nobody has decided on."""
    return [image.id for image in row.located if image.decision == "open"]


def _decide(
    name: str, place: Path | None, json_: bool, decide: Callable[[Ledger, Session, Row], None]
) -> None:
    """Carry out a decision in one transaction, and show the request as it is then."""
    from efface.ledger.requests import facts_of, request_named

    ledger = open_ledger(place)
    with ledger.session() as session:
        row = request_named(session, name)
        decide(ledger, session, row)
        full = facts_of(session, row)
    if json_:
        o.show(full.as_dict())
    else:
        tell_requests([full])
