"""The person's page: a secret link, where the request stands and by when, the letter, withdrawing. Never a picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Response
from fastapi import Request as Call
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.ledger.states import MOVES, State
from efface.ledger.tables import Request
from efface.requests import decide
from efface.requests.links import is_secret_of
from efface.server import pages
from efface.server.access import access_of, in_public
from efface.server.serving import service_of
from efface.server.words import WORDS, day_in

ACTOR = "person"
router = APIRouter(
    prefix="/person/{request_id}/{secret}", include_in_schema=False, dependencies=[Depends(in_public)]
)


@router.get("")
def show(call: Call, request_id: str, secret: str) -> Response:
    """Where the request stands."""
    return _show(call, request_id, secret)


@router.post("")
def withdraw(
    call: Call,
    request_id: str,
    secret: str,
    form: Annotated[str, Form()] = "",
    sure: Annotated[str, Form()] = "",
) -> Response:
    """Withdraw the request, until work on it has begun."""
    ledger = service_of(call).ledger
    with ledger.session() as session:
        request = _of_link(call, session, request_id, secret)
        access_of(call).check_form(secret, form)
        words = WORDS[request.language]
        if sure != "yes":
            problem = words.tick
        else:
            try:
                decide.withdraw(ledger, session, request, ACTOR, words.withdrawn_by_person)
                problem = ""
            except InputError:
                problem = words.too_late
    if problem:
        return _show(call, request_id, secret, problem, 400)
    return RedirectResponse(call.url.path, 303)


@router.get("/letter")
def letter(call: Call, request_id: str, secret: str) -> Response:
    """The letter that answers the request."""
    ledger = service_of(call).ledger
    with ledger.reading() as session:
        request = _of_link(call, session, request_id, secret)
        if not request.answers:
            raise HTTPException(404, "no letter was written yet")
        return pages.letter(ledger.place / request.answers[-1].folder)


def _show(call: Call, request_id: str, secret: str, problem: str = "", code: int = 200) -> Response:
    ledger = service_of(call).ledger
    with ledger.reading() as session:
        request = _of_link(call, session, request_id, secret)
        state, words = State(request.state), WORDS[request.language]
        return pages.page(
            "person",
            code,
            caller=None,
            words=words,
            language=request.language,
            organisation=ledger.policy.organisation,
            id=request.id,
            state=words.states[state],
            reason=request.reason if state in (State.needs_input, State.refused) else None,
            received=day_in(request.received, request.language),
            due=day_in(request.due, request.language)
            if request.answered is None and state != State.withdrawn
            else None,
            changed=day_in(request.changed, request.language),
            answered=day_in(request.answered, request.language) if request.answered else None,
            has_letter=bool(request.answers),
            may_withdraw=State.withdrawn in MOVES[state],
            here=call.url.path,
            form=access_of(call).form_token(secret),
            problem=problem,
        )


def _of_link(call: Call, session: Session, request_id: str, secret: str) -> Request:
    """The request of a link; a wrong link is answered like one of a request that there is not."""
    good = is_secret_of(service_of(call).ledger.key, request_id, secret)
    request = session.get(Request, request_id) if good else None
    if request is None:
        raise HTTPException(
            404, "this link leads nowhere: look whether it is whole, or ask who gave it to you"
        )
    return request
