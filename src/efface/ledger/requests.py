"""Requests in the ledger: taking one in, finding it again, moving it to another state, and what is told of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from sqlalchemy import ScalarSelect, bindparam, func, select, text
from sqlalchemy.orm import Session, selectinload

from efface.documents import Described
from efface.errors import InputError
from efface.files import sha256_of_json
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.policy import Language
from efface.ledger.states import ENDED, State, check_move
from efface.ledger.tables import (
    OPEN,
    UNANSWERED,
    Callback,
    Decision,
    LocatedImage,
    PersonalFile,
    Request,
    SuppliedImage,
)

DECISIONS = ("confirmed", "open", "rejected")
PAGE = 100
"""Requests listed at once."""


@dataclass(frozen=True)
class NewCallback:
    """Where a sender is to be told of each state. secret: what it wants to be shown with it."""

    url: str
    secret: str | None = None


@dataclass(frozen=True)
class NewRequest:
    """A request as it comes in. digests: sha256 (hex) of the images it names; received: with its zone.

    sender_id: the sender's own id; where there is none, the same images from the same sender are the same request.
    """

    sender: str
    format: str
    received: datetime
    digests: Sequence[str]
    sender_id: str | None = None
    regime: str | None = None
    language: Language | None = None
    name: str | None = None
    contact: str | None = None
    letter: str | None = None
    callbacks: Sequence[NewCallback] = ()


class RequestFacts(Described):
    """What a list tells of a request: nothing of the person."""

    id: str = Field(description="our id")
    sender: str = Field(description="who sent it")
    sender_id: str = Field(description="the sender's id of it")
    format: str = Field(description="in which format it came")
    received: str = Field(description="when it came in, with its zone, as stated")
    due: str = Field(description="when it must be answered, in UTC")
    overdue: bool = Field(description="whether that is over and no answer was written")
    regime: str | None = Field(description="the law or policy under which it was made")
    state: State = Field(description="where it stands")
    reason: str | None = Field(description="why, where that needs saying")
    changed: str = Field(description="since when, in UTC")
    answered: str | None = Field(description="when it was answered, in UTC")
    images: int = Field(description="images that came with it")
    located: dict[str, int] = Field(description="images of sets by decision: confirmed, open, rejected")


class LocatedFacts(Described):
    """An image of a set that a request may mean."""

    number: int = Field(description="by which it is confirmed or rejected")
    set: str = Field(description="name of the set")
    keyed: str = Field(description="keyed id of the image")
    path: str = Field(description="where it lies in the set")
    how: str = Field(description="exact, copy or look-alike")
    score: float = Field(description="agreement, 0 to 1")
    decision: str = Field(description="open, confirmed or rejected")
    decided_by: str | None = Field(description="who decided that; nobody for exact ones and copies")


class DecisionFacts(Described):
    """What a person decided on a request."""

    kind: str = Field(description="what was decided")
    actor: str = Field(description="by whom")
    time: str = Field(description="when, in UTC")
    reason: str | None = Field(description="why")


class FullRequest(RequestFacts):
    """All that the ledger knows of a request, the person included."""

    name: str | None = Field(description="who asks, until that is erased")
    contact: str | None = Field(description="where the answer goes, until that is erased")
    personal_erased: str | None = Field(description="when name, contact, letter and photos were erased")
    located_images: list[LocatedFacts] = Field(description="images of sets that it may mean")
    decisions: list[DecisionFacts] = Field(description="what people decided, the first first")


def add_request(ledger: Ledger, session: Session, new: NewRequest, actor: str) -> tuple[Request, bool]:
    """Take a request in; a known one is the same request. Returns it, and whether it is new."""
    digests = sorted({digest.lower() for digest in new.digests})
    sender_id = new.sender_id or f"images-{sha256_of_json([ledger.keyed(digest) for digest in digests])[:16]}"
    # once what it says of people is erased, it is known by a digest
    ids = (sender_id, events.digest_of(f"{new.sender} {sender_id}"))
    known = select(Request).where(Request.sender == new.sender, Request.sender_id.in_(ids))
    if (request := session.scalars(known).one_or_none()) is not None:
        return request, False
    number = (session.scalar(select(func.max(Request.number))) or 0) + 1
    now = datetime.now(UTC)
    request = Request(
        id=f"R-{number:05d}",
        number=number,
        sender=new.sender,
        sender_id=sender_id,
        format=new.format,
        taken_in=now,
        received=new.received,
        received_as=new.received.isoformat(),
        due=ledger.policy.due_date(new.received, new.regime),
        regime=new.regime,
        kind="erasure",
        state=State.received,
        changed=now,
        language=new.language or ledger.policy.language,
        personal=PersonalFile(name=new.name, contact=new.contact, letter=new.letter),
        supplied=[SuppliedImage(keyed=ledger.keyed(digest), digest=digest) for digest in digests],
    )
    session.add(request)
    for callback in new.callbacks:
        call_back(request, callback)
    session.flush()
    events.append(
        session,
        "request-added",
        actor,
        request=request.id,
        sender_id=events.digest_of(f"{new.sender} {sender_id}"),
        images=[image.keyed for image in request.supplied],
        state=request.state,
    )
    return request, True


def call_back(request: Request, new: NewCallback) -> None:
    """Tell the sender of each state of a request at one more address; a known one is told anew."""
    known = {one.url: one for one in request.callbacks}
    callback = known.get(new.url)
    if callback is None:
        request.callbacks.append(callback := Callback(url=new.url))
    callback.secret, callback.told = new.secret, None
    callback.attempts, callback.due = 0, datetime.now(UTC)


def request_named(session: Session, name: str) -> Request:
    """The request with our id, or with the sender's where only one has it; raises `InputError`."""
    if (request := session.get(Request, name)) is not None:
        return request
    named = session.scalars(select(Request).where(Request.sender_id == name).limit(2)).all()
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(
            f"several senders have a request {name}: {', '.join(one.id for one in named)}; name it by that id"
        )
    raise InputError(f"no request {name} in this ledger; see: efface requests list")


def move(session: Session, request: Request, state: State, actor: str, reason: str | None = None) -> None:
    """Bring a request into another state, with its event; raises `InputError` where that state cannot follow."""
    before = State(request.state)
    check_move(request.id, before, state)
    request.state, request.reason, request.changed = state, reason, datetime.now(UTC)
    said = {"reason": events.digest_of(reason)} if reason else {}
    events.append(session, "request-state", actor, request=request.id, before=before, after=state, **said)


def decide(session: Session, request: Request, kind: str, actor: str, reason: str | None) -> Decision:
    """Write down what a person decided, in the transaction that also does it."""
    decision = Decision(kind=kind, actor=actor, reason=reason, time=datetime.now(UTC))
    request.decisions.append(decision)
    return decision


def is_overdue(request: Request, now: datetime | None = None) -> bool:
    """Whether a request should have been answered, and was not."""
    return _is_late(request.answered, request.state, request.due, now or datetime.now(UTC))


def list_requests(
    session: Session,
    states: Collection[State] = (),
    after: int = 0,
    most: int = PAGE,
    due_before: datetime | None = None,
) -> list[RequestFacts]:
    """Requests in some states (default: all), the oldest first, from behind number `after` on.

    due_before: only those that are not answered and due by then, the most urgent first; withdrawn ones are left out.
    """
    query = COUNTED.limit(most)
    if set(states) == set(open_states()):
        query = query.where(text(OPEN))
    elif states:
        query = query.where(Request.state.in_(states))
    if due_before is None:
        query = query.where(Request.number > after).order_by(Request.number)
    else:
        query = query.where(text(UNANSWERED), Request.due <= due_before).order_by(Request.due, Request.number)
    return [told(row) for row in session.execute(query)]


def short_facts(session: Session, request: Request) -> RequestFacts:
    """What is told of one request: nothing of the person."""
    return told(session.execute(BY_ID, {"id": request.id}).one())


def count_by_state(session: Session) -> dict[State, int]:
    """How many requests are in each state; states without any are left out."""
    rows = session.execute(select(Request.state, func.count()).group_by(Request.state))
    counts = {State(state): count for state, count in rows}
    return {state: counts[state] for state in State if state in counts}


def facts_of(session: Session, request: Request) -> FullRequest:
    """All of one request."""
    located = session.scalars(
        select(LocatedImage)
        .where(LocatedImage.request_id == request.id)
        .order_by(LocatedImage.id)
        .options(selectinload(LocatedImage.image))
    ).all()
    short = short_facts(session, request)
    person = request.personal
    return FullRequest(
        **dict(short),
        name=person.name if person else None,
        contact=person.contact if person else None,
        personal_erased=_text(person.erased if person else None),
        located_images=[
            LocatedFacts(
                number=one.id,
                set=one.image.set.name,
                keyed=one.image.keyed,
                path=one.image.path,
                how=one.how,
                score=one.score,
                decision=one.decision,
                decided_by=one.decided_by,
            )
            for one in located
        ],
        decisions=[
            DecisionFacts(
                kind=one.kind, actor=one.actor, time=one.time.isoformat(timespec="seconds"), reason=one.reason
            )
            for one in request.decisions
        ],
    )


def open_states() -> list[State]:
    """States of requests for which something is still to be done."""
    return [state for state in State if state not in ENDED]


def _located(decision: str) -> ScalarSelect[int]:
    mine = select(func.count()).where(
        LocatedImage.request_id == Request.id, LocatedImage.decision == decision
    )
    return mine.correlate(Request).scalar_subquery()


COUNTED = select(
    Request.id,
    Request.sender,
    Request.sender_id,
    Request.format,
    Request.received_as,
    Request.due,
    Request.regime,
    Request.state,
    Request.reason,
    Request.changed,
    Request.answered,
    select(func.count()).where(SuppliedImage.request_id == Request.id).correlate(Request).scalar_subquery(),
    *map(_located, DECISIONS),
)
"""What is told of requests: a row for each, with how many images came with it, and were located, by decision."""
BY_ID = COUNTED.where(Request.id == bindparam("id"))
BY_SENDER = COUNTED.where(Request.sender == bindparam("sender"), Request.sender_id == bindparam("sender_id"))


def told(row: Sequence[Any]) -> RequestFacts:
    """What a row of `COUNTED` tells."""
    id_, sender, sender_id, format_, received, due, regime, state, reason, changed, answered, *counts = row
    images, *located = counts
    return RequestFacts(
        id=id_,
        sender=sender,
        sender_id=sender_id,
        format=format_,
        received=received,
        due=due.isoformat(timespec="seconds"),
        overdue=_is_late(answered, state, due, datetime.now(UTC)),
        regime=regime,
        state=State(state),
        reason=reason,
        changed=changed.isoformat(timespec="seconds"),
        answered=_text(answered),
        images=images,
        located={name: count for name, count in zip(DECISIONS, located, strict=True) if count},
    )


def _is_late(answered: datetime | None, state: str, due: datetime, now: datetime) -> bool:
    return answered is None and state != State.withdrawn and due < now


def _text(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None
