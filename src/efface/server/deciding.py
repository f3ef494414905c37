"""Decisions of people through the service: who may take which; `efface.requests.decide` carries them out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from fastapi import HTTPException
from sqlalchemy.orm import Session

from efface.ledger.opening import Ledger
from efface.ledger.tables import Request
from efface.requests import decide
from efface.server.tokens import Caller, Role


class Kind(StrEnum):
    """What can be decided on a request."""

    confirm = "confirm"
    reject = "reject"
    verify_identity = "verify-identity"
    approve = "approve"
    refuse = "refuse"
    withdraw = "withdraw"


BY_REVIEWERS = frozenset({Kind.confirm, Kind.reject, Kind.verify_identity})


def may_decide(caller: Caller, kind: Kind) -> bool:
    """Whether the caller's role allows this decision."""
    return caller.role == Role.approver or (caller.role == Role.reviewer and kind in BY_REVIEWERS)


def decide_on(
    ledger: Ledger,
    session: Session,
    request: Request,
    kind: Kind,
    images: Sequence[int],
    caller: Caller,
    reason: str | None,
) -> None:
    """Take a decision in the session's transaction. Raises 403, or `InputError` where the request does not allow it."""
    if not may_decide(caller, kind):
        raise HTTPException(
            403, f"to {kind} is for approvers; the token of {caller.name} is for {caller.role}"
        )
    match kind:
        case Kind.confirm:
            decide.confirm(ledger, session, request, images, caller.name, reason)
        case Kind.reject:
            decide.reject(ledger, session, request, images, caller.name, reason)
        case Kind.verify_identity:
            decide.verify_identity(ledger, session, request, caller.name, reason)
        case Kind.approve:
            decide.approve(ledger, session, request, caller.name, reason)
        case Kind.refuse:
            decide.refuse(ledger, session, request, caller.name, reason)
        case Kind.withdraw:
            decide.withdraw(ledger, session, request, caller.name, reason)
