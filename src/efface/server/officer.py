"""The officer's pages: what is due, the queue, one request with its candidates side by side, decisions, evidence.

Plain HTML and forms; no script. Pictures are small, made anew for each look, kept by nobody, and each look is an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Response
from fastapi import Path as InPath
from fastapi import Request as Call
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from starlette.datastructures import UploadFile

from efface.documents import read_bytes
from efface.errors import InputError
from efface.files import sha256_of_bytes
from efface.images.reading import MAX_BYTES
from efface.images.sources import list_source
from efface.ledger import events
from efface.ledger.requests import (
    FullRequest,
    NewRequest,
    add_request,
    facts_of,
    list_requests,
    open_states,
)
from efface.ledger.states import MEANINGS, State
from efface.ledger.tables import Answer, LocatedImage, SetImage, SuppliedImage
from efface.requests.formats.values import MOST_TEXT
from efface.requests.links import link_to
from efface.requests.uploads import add_photo
from efface.server import pages
from efface.server.access import COOKIE, SESSION_SECONDS, access_of, address_of, in_public, officer
from efface.server.deciding import Kind, decide_on, may_decide
from efface.server.decoding import check_name
from efface.server.serving import request_of, service_of
from efface.server.tokens import Caller, Role
from efface.wording import counted

PER_PAGE = 50
SOON = 7
MOST_DUE = 10
MOST_PHOTOS = 20
FIELDS = ("received", "regime", "language", "name", "contact", "letter")
SEES_PICTURES = (Role.reviewer, Role.approver)
Officer = Annotated[Caller, Depends(officer)]
RequestId = Annotated[str, InPath(pattern=r"^R-[0-9]{5,12}$")]
router = APIRouter(prefix="/officer", include_in_schema=False)


@dataclass(frozen=True)
class Candidate:
    """An image of a set beside the supplied one that it was located by."""

    number: int
    supplied: int | None
    """None where no photo is left to be shown."""
    set: str
    path: str
    how: str
    score: float
    decision: str
    decided_by: str | None


@router.get("/login")
async def login_form() -> Response:
    """Where an officer gives a token."""
    return pages.page("login", caller=None, problem=None)


@router.post("/login", dependencies=[Depends(in_public)])
async def login(call: Call, token: Annotated[str, Form(max_length=200)]) -> Response:
    """Begin a session of some hours."""
    access = access_of(call)
    try:
        caller = await access.holder(token.strip(), address_of(call))
    except HTTPException as error:
        return pages.page("login", error.status_code, caller=None, problem=str(error.detail))
    if caller.role in (Role.intake, Role.agent):
        return pages.page(
            "login", 403, caller=None, problem="this token is for programs that hand requests in"
        )
    answer = RedirectResponse("/officer", 303)
    answer.set_cookie(
        COOKIE,
        access.session_cookie(caller),
        max_age=SESSION_SECONDS,
        path="/officer",
        secure=call.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
async def logout(call: Call, form: Annotated[str, Form()] = "") -> Response:
    """End the session in this browser."""
    access_of(call).check_form(call.cookies.get(COOKIE, ""), form)
    answer = RedirectResponse("/officer/login", 303)
    answer.delete_cookie(COOKIE, path="/officer")
    return answer


@router.get("")
def queue(
    call: Call,
    caller: Officer,
    state: Annotated[State | None, Query()] = None,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Response:
    """What is due, and the queue a page at a time."""
    with service_of(call).ledger.reading() as session:
        until = datetime.now(UTC) + timedelta(days=SOON)
        due = (
            list_requests(session, most=MOST_DUE + 1, due_before=until) if not after and state is None else []
        )
        listed = list_requests(session, [state] if state else open_states(), after, PER_PAGE + 1)
    more = int(listed[PER_PAGE - 1].id.removeprefix("R-")) if len(listed) > PER_PAGE else None
    return _page(
        call,
        caller,
        "queue",
        due=due[:MOST_DUE],
        more_due=len(due) > MOST_DUE,
        soon=SOON,
        requests=listed[:PER_PAGE],
        state=state,
        states=list(State),
        more=more,
        after=after,
    )


@router.get("/new")
def new_form(call: Call, caller: Officer) -> Response:
    """The form for a request that came by letter or mail."""
    _check_role(caller)
    return _page(call, caller, "new", problems=[], given=dict.fromkeys(FIELDS, ""), most=MOST_PHOTOS)


@router.post("/new")
async def add(call: Call, caller: Officer) -> Response:
    """Take in a request that came by letter or mail, with its photos."""
    _check_role(caller)
    async with call.form(max_files=MOST_PHOTOS, max_fields=12, max_part_size=4 * MOST_TEXT) as form:
        access_of(call).check_form(call.cookies.get(COOKIE, ""), form.get("form"))
        given = {name: str(form.get(name) or "").strip() for name in FIELDS}
        photos = [
            one
            for one in form.getlist("photos")
            if isinstance(one, UploadFile) and (one.filename or one.size)
        ]
        try:
            for photo in photos:
                check_name(photo.filename or "")
            contents = [await photo.read() for photo in photos]
            added = await run_in_threadpool(_add, call, caller, given, contents)
        except InputError as error:
            code, problems = 400, list(error.problems)
            return _page(call, caller, "new", code, problems=problems, given=given, most=MOST_PHOTOS)
    return RedirectResponse(f"/officer/requests/{added}", 303)


@router.get("/requests/{request_id}")
def show(call: Call, request_id: RequestId, caller: Officer) -> Response:
    """One request."""
    return _show(call, request_id, caller)


@router.post("/requests/{request_id}/decisions")
async def decide(call: Call, request_id: RequestId, caller: Officer) -> Response:
    """Carry out a decision of the forms of a request."""
    async with call.form(max_files=0, max_fields=2000, max_part_size=4 * MOST_TEXT) as form:
        access_of(call).check_form(call.cookies.get(COOKIE, ""), form.get("form"))
        numbers = [int(one) for one in form.getlist("image") if isinstance(one, str) and one.isdecimal()]
        kind, reason = str(form.get("kind")), str(form.get("reason") or "").strip()
    if kind not in list(Kind):
        raise HTTPException(400, "there is no such decision")
    return await run_in_threadpool(_decide, call, request_id, caller, Kind(kind), numbers, reason or None)


@router.get("/requests/{request_id}/pictures/{which}/{number}")
def picture(call: Call, request_id: RequestId, which: str, number: int, caller: Officer) -> Response:
    """A small picture of a supplied or located image. The look becomes an event before anything is shown."""
    _check_role(caller)
    service = service_of(call)
    image: SetImage | SuppliedImage | None = None
    with service.ledger.session() as session:
        request = request_of(session, request_id, caller)
        if which == "located":
            one = session.get(LocatedImage, number)
            image = one.image if one is not None and one.request_id == request.id else None
            place = image.set.place if image is not None else ""
        elif which == "supplied":
            photo = session.get(SuppliedImage, number)
            image = photo if photo is not None and photo.request_id == request.id and photo.place else None
        if image is None:
            raise HTTPException(404, "there is no such picture, or no longer")
        events.append(session, "picture-viewed", caller.name, request=request.id, image=image.keyed)
    try:
        if isinstance(image, SetImage):
            data = _of_set(image, place)
        else:
            data = read_bytes(service.ledger.place / str(image.place), MAX_BYTES)
    except (OSError, InputError) as error:
        raise HTTPException(404, f"the picture cannot be shown: {error}") from None
    return Response(service.decoder.thumbnail(data), media_type="image/jpeg")


@router.get("/requests/{request_id}/letters/{number}")
def letter(call: Call, request_id: RequestId, number: int, caller: Officer) -> Response:
    """A letter that was written."""
    _check_role(caller)
    ledger = service_of(call).ledger
    with ledger.reading() as session:
        answer = session.get(Answer, number)
        if answer is None or answer.request_id != request_id:
            raise HTTPException(404, "there is no such letter")
        return pages.letter(ledger.place / answer.folder)


@router.get("/events")
def list_events(call: Call, caller: Officer, before: Annotated[int, Query(ge=0, le=2**53)] = 0) -> Response:
    """The chain of events, the newest first."""
    if caller.role not in (Role.auditor, Role.approver):
        raise HTTPException(403, "events are for auditors and approvers")
    with service_of(call).ledger.reading() as session:
        head = events.head(session)
        last = min(before - 1, head.number) if before else head.number
        first = max(0, last - PER_PAGE)
        listed = [events.facts_of(one) for one in events.some_after(session, first, last - first)]
    return _page(call, caller, "events", events=listed[::-1], head=head, first=first, kinds=events.KINDS)


def _page(call: Call, caller: Caller, template: str, code: int = 200, **content: object) -> Response:
    """A page of the officer's, with the token of its forms."""
    form = access_of(call).form_token(call.cookies.get(COOKIE, ""))
    return pages.page(template, code, caller=caller, form=form, **content)


def _check_role(caller: Caller) -> None:
    if caller.role not in SEES_PICTURES:
        raise HTTPException(403, "persons and pictures are for reviewers and approvers")


def _show(
    call: Call, request_id: str, caller: Caller, problems: Sequence[str] = (), code: int = 200
) -> Response:
    ledger = service_of(call).ledger
    whole = caller.role in SEES_PICTURES
    with ledger.reading() as session:
        request = request_of(session, request_id, caller)
        facts: FullRequest = facts_of(session, request)
        photos = {one.id for one in request.supplied if one.place is not None}
        supplied_by = {one.id: one.supplied_id for one in request.located}
        letter = request.personal.letter if whole and request.personal else None
        answers = [(one.id, one.written, one.language) for one in request.answers]
    candidates = [
        Candidate(
            number=one.number,
            supplied=place if (place := supplied_by[one.number]) in photos else None,
            set=one.set,
            path=one.path if whole else one.keyed[:16],
            how=one.how,
            score=one.score,
            decision=one.decision,
            decided_by=one.decided_by,
        )
        for one in facts.located_images
    ]
    return _page(
        call,
        caller,
        "request",
        code,
        request=facts,
        meaning=MEANINGS[facts.state],
        whole=whole,
        letter=letter,
        photos=sorted(photos - {one.supplied for one in candidates}),
        candidates=candidates,
        kinds=[kind for kind in Kind if may_decide(caller, kind)],
        link=link_to(ledger.key, facts.id, ledger.policy.service.public_url) if whole else None,
        answers=answers,
        problems=problems,
        supplied=counted(facts.images, "image"),
    )


def _decide(
    call: Call, request_id: str, caller: Caller, kind: Kind, numbers: Sequence[int], reason: str | None
) -> Response:
    ledger = service_of(call).ledger
    try:
        with ledger.session() as session:
            request = request_of(session, request_id, caller)
            decide_on(ledger, session, request, kind, numbers, caller, reason)
    except InputError as error:
        return _show(call, request_id, caller, error.problems, 400)
    return RedirectResponse(f"/officer/requests/{request_id}", 303)


def _add(call: Call, caller: Caller, given: dict[str, str], photos: Sequence[bytes]) -> str:
    service, faults = service_of(call), []
    try:
        day = datetime.fromisoformat(given["received"])
        received = day.astimezone() if day.tzinfo is None else day
        if received > datetime.now(UTC) + timedelta(days=1):
            faults.append("received: the day is in the future")
    except ValueError:
        faults.append("received: a day such as 2026-11-03 is needed")
    if not photos:
        faults.append(
            "photos: at least one is needed; a request without any goes to the command line or a program"
        )
    faults += [f"{name}: too long" for name, value in given.items() if len(value) > MOST_TEXT]
    for number, photo in enumerate(photos, 1):
        try:
            service.decoder.check(photo)
        except InputError as error:
            faults.append(f"photo {number}: {error}")
    if given["language"] not in ("en", "de", "fr"):
        faults.append("language: en, de or fr")
    if faults:
        raise InputError(*faults)
    new = NewRequest(
        sender=f"officer-{caller.name}",
        format="photos",
        received=received,
        digests=[sha256_of_bytes(photo) for photo in photos],
        regime=given["regime"] or None,
        language=given["language"],  # type: ignore[arg-type]
        name=given["name"] or None,
        contact=given["contact"] or None,
        letter=given["letter"] or None,
    )
    with service.ledger.session() as session:
        request, _ = add_request(service.ledger, session, new, caller.name)
        for photo in photos:
            add_photo(service.ledger, session, request, photo, caller.name)
        return request.id


def _of_set(image: SetImage, place: str) -> bytes:
    """The bytes of an image of a set; raises `InputError` where they are gone, or are no longer those."""
    at_once = Path(place) / image.path
    if not at_once.is_file():
        listed = {one.path: one.source for one in list_source(place).candidates}
        if image.path not in listed:
            raise InputError("the image is no longer in its set")
        data = listed[image.path].read_bytes()
    else:
        data = read_bytes(at_once, MAX_BYTES)
    if sha256_of_bytes(data) != image.digest:
        raise InputError("the file was changed since the set was indexed")
    return data
