"""What all routes have in common: the ledger, taking a request in, whose request it is, and how faults are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from fastapi import HTTPException, Response
from fastapi import Request as Call
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, RequestFacts, add_request, short_facts
from efface.ledger.tables import Request
from efface.server.decoding import Decoder
from efface.server.reading import StatusReader
from efface.server.signing import Signer
from efface.server.tokens import Caller, Role

OWN = (Role.intake, Role.agent)
"""Roles that see the requests which they handed in, and no others."""


class Problem(Described):
    """What is wrong with a call."""

    message: str = Field(description="what is wrong, in a sentence or a list")
    problems: list[str] = Field(description="each fault")


PROBLEMS = {
    400: "the body is wrong; nothing was changed",
    401: "a token is missing or not valid",
    403: "the token is for something else",
    404: "there is no such thing, or it is somebody else's",
    409: "the state of the request does not allow it",
    408: "the body did not come in in time",
    413: "the body is too large",
    422: "a parameter is wrong; nothing was changed",
    429: "too many calls",
    503: "the ledger is busy or its disk is full; call later",
}


class Answer(TypedDict):
    """How FastAPI takes what a route may answer."""

    model: type[BaseModel]
    description: str


def answers(fault: type[BaseModel]) -> dict[int | str, Any]:
    """The faults that any route may answer, in the form of its format."""
    return {code: Answer(model=fault, description=words) for code, words in PROBLEMS.items()}


@dataclass(frozen=True)
class Service:
    """What the routes work with. signer: of OpenDSR answers, where the policy names a certificate; id: the ledger's."""

    ledger: Ledger
    decoder: Decoder
    signer: Signer | None
    status: StatusReader
    id: str


def service_of(call: Call) -> Service:
    """The service that a call reached."""
    service: Service = call.app.state.service
    return service


def take_in(ledger: Ledger, new: NewRequest, actor: str) -> tuple[RequestFacts, bool]:
    """Take a request in; the same request comes in once. Returns what is told of it, and whether it is new."""
    with ledger.session() as session:
        request, is_new = add_request(ledger, session, new, actor)
        return short_facts(session, request), is_new


def no_request(name: str) -> HTTPException:
    """The answer where there is no such request, or none that the caller may see."""
    return HTTPException(404, f"there is no request {name[:80]}, or it is somebody else's")


def request_of(session: Session, name: str, caller: Caller) -> Request:
    """The request with our id; raises 404 for none, and for somebody else's."""
    request = session.get(Request, name)
    if request is None or (caller.role in OWN and request.sender != caller.name):
        raise no_request(name)
    return request


def sent_by(session: Session, sender: str, sender_id: str) -> Request:
    """The request with the sender's id; raises 404 for none."""
    request = session.scalar(select(Request).where(Request.sender == sender, Request.sender_id == sender_id))
    if request is None:
        raise no_request(sender_id)
    return request


def document(value: BaseModel, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A model as JSON, without checking it once more."""
    return Response(value.model_dump_json(by_alias=True), code, headers, media_type="application/json")
