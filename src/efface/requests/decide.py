"""What people decide on a request, as the policy allows it: which images are meant, and whether it is carried out.

Each function works in the caller's transaction and writes its event; it raises `InputError` with all faults, before
anything changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.requests import decide, move
from efface.ledger.states import State, check_move
from efface.ledger.tables import LocatedImage, Request
from efface.wording import counted

CHANGEABLE = frozenset({State.received, State.needs_input, State.located, State.not_found, State.approved})
"""States in which it can still be changed which images are meant."""


def confirm(
    ledger: Ledger,
    session: Session,
    request: Request,
    numbers: Sequence[int],
    actor: str,
    reason: str | None = None,
) -> None:
    """Say that located images are meant. numbers: of `LocatedFacts`."""
    _decide_on_images(session, request, numbers, actor, reason, "confirmed")


def reject(
    ledger: Ledger,
    session: Session,
    request: Request,
    numbers: Sequence[int],
    actor: str,
    reason: str | None = None,
) -> None:
    """Say that located images are not meant."""
    _decide_on_images(session, request, numbers, actor, reason, "rejected")


def verify_identity(
    ledger: Ledger, session: Session, request: Request, actor: str, reason: str | None
) -> None:
    """Note that the person's identity was verified; reason: how."""
    if not reason:
        raise InputError("say how the person's identity was verified")
    _written_down(session, request, "verify-identity", actor, reason)


def approve(
    ledger: Ledger, session: Session, request: Request, actor: str, reason: str | None = None
) -> None:
    """Approve a request: it will be carried out, once as many people as the policy wants have approved it."""
    check_move(request.id, State(request.state), State.approved)
    policy, faults = ledger.policy, []
    if policy.approval.by and actor not in policy.approval.by:
        faults.append(f"{actor} may not approve; the policy names {', '.join(policy.approval.by)}")
    made = {decision.kind for decision in request.decisions}
    if policy.identity.required and "verify-identity" not in made:
        faults.append("the person's identity must be verified before, and how that was done be noted")
    images = [image.decision for image in request.located]
    if "confirmed" not in images:
        faults.append("no image is confirmed, so there is nothing to carry out")
    if still_open := images.count("open"):
        faults.append(f"{counted(still_open, 'located image')} must be confirmed or rejected before")
    approved_by = {decision.actor for decision in request.decisions if decision.kind == "approve"}
    if actor in approved_by:
        faults.append(f"{actor} has approved it already; the policy wants {policy.approval.people} people")
    if faults:
        raise InputError(*faults, what=f"{request.id} cannot be approved")
    _written_down(session, request, "approve", actor, reason)
    if len(approved_by | {actor}) >= policy.approval.people:
        move(session, request, State.approved, actor, reason)


def refuse(ledger: Ledger, session: Session, request: Request, actor: str, reason: str | None) -> None:
    """Refuse a request; reason: why, in words that the person reads."""
    check_move(request.id, State(request.state), State.refused)
    if not reason:
        raise InputError("say why it is refused: the person reads it")
    _written_down(session, request, "refuse", actor, reason)
    move(session, request, State.refused, actor, reason)


def withdraw(
    ledger: Ledger, session: Session, request: Request, actor: str, reason: str | None = None
) -> None:
    """Withdraw a request, as the person may until work on it has begun."""
    check_move(request.id, State(request.state), State.withdrawn)
    _written_down(session, request, "withdraw", actor, reason)
    move(session, request, State.withdrawn, actor, reason)


def _decide_on_images(
    session: Session, request: Request, numbers: Sequence[int], actor: str, reason: str | None, decision: str
) -> None:
    if State(request.state) not in CHANGEABLE:
        raise InputError(f"{request.id} is {request.state}: which images are meant can no longer be changed")
    if not numbers:
        raise InputError("no image is named")
    wanted = sorted(set(numbers))
    mine = select(LocatedImage).where(LocatedImage.request_id == request.id, LocatedImage.id.in_(wanted))
    images = session.scalars(mine.order_by(LocatedImage.id)).all()
    if strangers := set(wanted) - {image.id for image in images}:
        named = ", ".join(map(str, sorted(strangers)))
        raise InputError(f"{request.id} has no located image {named}; see: efface requests show {request.id}")
    now = datetime.now(UTC)
    for image in images:
        image.decision, image.decided_by, image.decided, image.reason = decision, actor, now, reason
    kind = "confirm" if decision == "confirmed" else "reject"
    _written_down(session, request, kind, actor, reason, [image.image.keyed for image in images])


def _written_down(
    session: Session,
    request: Request,
    kind: str,
    actor: str,
    reason: str | None,
    images: list[str] | None = None,
) -> None:
    decide(session, request, kind, actor, reason)
    said = {"reason": events.digest_of(reason)} if reason else {}
    named = {"images": images} if images else {}
    events.append(session, "decided", actor, request=request.id, decision=kind, **said, **named)
