"""Our own interface: `/api`. Whatever the pages do, a program can do here with a token of the same role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from fastapi import Request as Call
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from efface.documents import Described
from efface.ledger import events
from efface.ledger.events import EventFacts, HeadFacts
from efface.ledger.policy import Language
from efface.ledger.requests import (
    BY_ID,
    FullRequest,
    NewRequest,
    RequestFacts,
    facts_of,
    list_requests,
    short_facts,
)
from efface.ledger.states import State
from efface.requests.formats.values import Id, PastMoment, Sha256s, Text
from efface.requests.uploads import add_photo
from efface.server.access import in_public, may
from efface.server.deciding import Kind, decide_on
from efface.server.serving import OWN, Problem, answers, document, no_request, request_of, service_of, take_in
from efface.server.tokens import Caller, Role

Anyone = Annotated[Caller, Depends(may())]
Handing = Annotated[Caller, Depends(may(Role.intake, Role.reviewer, Role.approver))]
Reading = Annotated[Caller, Depends(may(Role.reviewer, Role.approver, Role.auditor))]
Reviewing = Annotated[Caller, Depends(may(Role.reviewer, Role.approver))]
Auditing = Annotated[Caller, Depends(may(Role.auditor, Role.approver))]
RequestId = Annotated[str, Path(pattern=r"^R-[0-9]{5,12}$", description="our id, such as R-00017")]
Most = Annotated[int, Query(ge=1, le=500, description="how many, at most")]
router = APIRouter(prefix="/api", tags=["efface"], responses=answers(Problem))


class Body(BaseModel):
    """A request as a program hands it in."""

    model_config = ConfigDict(extra="forbid")

    sender_id: Id | None = Field(
        None, description="your id of it; where there is none, the same images are the same request"
    )
    received: PastMoment | None = Field(None, description="when it reached you, with its zone; default: now")
    regime: Text | None = Field(None, description="the law under which it was made, such as GDPR")
    language: Language | None = Field(None, description="of the letter: en, de or fr")
    name: Text | None = Field(None, description="who asks; erased some days after the answer")
    contact: Text | None = Field(None, description="where the answer goes; erased likewise")
    letter: Text | None = Field(None, description="what was written; erased likewise")
    image_sha256: Sha256s = Field((), description="sha256 digests of image files; photos follow on their own")


class Decided(BaseModel):
    """A decision on a request."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Field(description="what is decided")
    images: Annotated[list[int], Field(max_length=10_000)] = Field(
        [], description="numbers of located images, to confirm or reject"
    )
    reason: Text | None = Field(None, description="why; needed to refuse")


class PhotoTaken(Described):
    """A photo that came in."""

    keyed: str = Field(description="keyed id of the photo")


class Requests(Described):
    """A page of requests."""

    requests: list[RequestFacts] = Field(description="the oldest first, or the most urgent first")
    after: int | None = Field(description="what to give as `after` for the next page; none behind the last")


class Events(Described):
    """A page of the chain of events."""

    events: list[EventFacts] = Field(description="in their order")
    head: HeadFacts = Field(description="where the chain ends now")


class Health(Described):
    """Whether the service works."""

    ledger: str = Field(description="id of the ledger")


@router.get("/health", response_model=Health, dependencies=[Depends(in_public)])
def health(call: Call) -> Health:
    """Whether the service and its database answer."""
    with service_of(call).ledger.reading() as session:
        return Health(ledger=events.head(session).ledger)


@router.post("/requests", status_code=201, response_model=RequestFacts)
def add(call: Call, body: Body, caller: Handing, response: Response) -> Response:
    """Hand a request in; 200 where it is known. Photos follow with POST /api/requests/{id}/photos."""
    new = NewRequest(
        sender=caller.name,
        sender_id=body.sender_id,
        format="rest",
        received=body.received or datetime.now(UTC),
        digests=body.image_sha256,
        regime=body.regime,
        language=body.language,
        name=body.name,
        contact=body.contact,
        letter=body.letter,
    )
    if body.sender_id is None and not body.image_sha256:
        raise HTTPException(
            400,
            "sender_id or image_sha256 is needed: without both nobody could tell this request from others",
        )
    facts, is_new = take_in(service_of(call).ledger, new, caller.name)
    return document(facts, 201 if is_new else 200)


@router.post(
    "/requests/{request_id}/photos",
    status_code=201,
    response_model=PhotoTaken,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add_a_photo(call: Call, request_id: RequestId, caller: Handing) -> PhotoTaken:
    """Add a photo, as the bytes of its file (at most 32 MiB). It is decoded first, in a process with limits."""
    data = await call.body()
    return await run_in_threadpool(_add_photo, call, request_id, caller, data)


@router.get("/requests", response_model=Requests)
def list_(
    call: Call,
    caller: Reading,
    state: Annotated[list[State] | None, Query(description="only in these states")] = None,
    after: Annotated[int, Query(ge=0, le=2**53, description="go on behind the request of this number")] = 0,
    most: Most = 100,
) -> Response:
    """Requests, the oldest first, a page at a time."""
    with service_of(call).ledger.reading() as session:
        listed = list_requests(session, state or (), after, most)
    more = int(listed[-1].id.removeprefix("R-")) if len(listed) == most else None
    return document(Requests(requests=listed, after=more))


@router.get("/due", response_model=Requests)
def due(
    call: Call,
    caller: Reading,
    within: Annotated[int, Query(ge=0, le=3650, description="days from now on")] = 7,
    most: Most = 100,
) -> Response:
    """Requests that are late or soon due and not answered, the most urgent first."""
    until = datetime.now(UTC) + timedelta(days=within)
    with service_of(call).ledger.reading() as session:
        return document(Requests(requests=list_requests(session, most=most, due_before=until), after=None))


@router.get("/requests/{request_id}", response_model=RequestFacts)
async def status(call: Call, request_id: RequestId, caller: Anyone) -> Response:
    """Where a request stands; nothing of the person. It is read at once: readers of the ledger wait for nobody."""
    facts = service_of(call).status.facts(BY_ID, id=request_id)
    if facts is None or (caller.role in OWN and facts.sender != caller.name):
        raise no_request(request_id)
    return document(facts)


@router.get("/requests/{request_id}/full", response_model=FullRequest)
def full(call: Call, request_id: RequestId, caller: Reviewing) -> Response:
    """All of a request, the person included."""
    with service_of(call).ledger.reading() as session:
        return document(facts_of(session, request_of(session, request_id, caller)))


@router.post("/requests/{request_id}/decisions", response_model=RequestFacts)
def decide(call: Call, request_id: RequestId, body: Decided, caller: Reviewing) -> Response:
    """Decide on a request: confirm or reject located images; approve, refuse or withdraw it (approvers)."""
    ledger = service_of(call).ledger
    with ledger.session() as session:
        request = request_of(session, request_id, caller)
        decide_on(ledger, session, request, body.kind, body.images, caller, body.reason)
        return document(short_facts(session, request))


@router.get("/events", response_model=Events)
def list_events(
    call: Call,
    caller: Auditing,
    after: Annotated[int, Query(ge=0, le=2**53, description="go on behind the event of this number")] = 0,
    most: Most = 100,
) -> Response:
    """The chain of events: ids and digests of what happened."""
    with service_of(call).ledger.reading() as session:
        listed = [events.facts_of(one) for one in events.some_after(session, after, most)]
        return document(Events(events=listed, head=events.head(session)))


def _add_photo(call: Call, request_id: str, caller: Caller, data: bytes) -> PhotoTaken:
    service = service_of(call)
    with service.ledger.reading() as session:
        request_of(session, request_id, caller)
    service.decoder.check(data)
    with service.ledger.session() as session:
        request = request_of(session, request_id, caller)
        return PhotoTaken(keyed=add_photo(service.ledger, session, request, data, caller.name).keyed)
