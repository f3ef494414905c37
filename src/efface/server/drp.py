"""Data Rights Protocol 1.0: `/v1/agent` and `/v1/data-rights-request`, with messages signed by registered agents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Request as Call
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import select

from efface.documents import Described
from efface.errors import InputError
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.requests import BY_ID, move, short_facts
from efface.ledger.states import State
from efface.ledger.tables import Request, Token
from efface.requests.formats import drp
from efface.requests.formats.values import IMAGES
from efface.server.access import in_public, may
from efface.server.serving import answers, document, service_of, take_in
from efface.server.tokens import Caller, Role, digest_of, new_secret
from efface.settings import validated

Agent = Annotated[Caller, Depends(may(Role.agent))]
MESSAGE = "the message"
SIGNED = {
    "requestBody": {
        "required": True,
        "description": "base64 of an Ed25519 signature and the JSON that it signs (libsodium, combined mode); "
        f"images stand in its claim `{IMAGES}`",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


class Fault(Described):
    """What is wrong with a call."""

    code: str = Field(description="the status of the answer")
    message: str = Field(description="what is wrong")
    fatal: bool = Field(description="whether the same call will never do")


router = APIRouter(prefix="/v1", tags=["Data Rights Protocol 1.0"], responses=answers(Fault))


class PairwiseToken(Described):
    """What POST /v1/agent/{agent-id} answers."""

    agent_id: str = Field(alias="agent-id", description="the agent")
    token: str = Field(description="to be sent with every other call; the one before it no longer holds")


@router.post(
    "/agent/{agent_id}", response_model=PairwiseToken, dependencies=[Depends(in_public)], openapi_extra=SIGNED
)
async def pair(call: Call, agent_id: str) -> Response:
    """Give a registered agent its token. Whatever is wrong is answered with 403 and nothing else."""
    body = await call.body()
    try:
        token = await run_in_threadpool(_pair, service_of(call).ledger, agent_id, body)
    except InputError:
        return Response(status_code=403)
    return JSONResponse({"agent-id": agent_id, "token": token})


@router.get("/agent/{agent_id}")
async def known(agent_id: str, agent: Agent) -> Response:
    """Whether the token is that of this agent."""
    if agent.name != agent_id:
        raise HTTPException(403, "the token is another agent's")
    return JSONResponse({})


@router.post("/data-rights-request", response_model=drp.Status, openapi_extra=SIGNED)
async def exercise(call: Call, agent: Agent) -> Response:
    """Hand a request in. Sent once more it is the same request."""
    body = await call.body()
    return document(await run_in_threadpool(_exercise, service_of(call).ledger, agent, body))


@router.get("/data-rights-request/{request_id}", response_model=drp.Status)
async def status(call: Call, request_id: str, agent: Agent) -> Response:
    """Where a request stands."""
    service = service_of(call)
    number = drp.number_in(request_id, service.id)
    facts = service.status.facts(BY_ID, id=f"R-{number:05d}") if number else None
    if facts is None or facts.sender != agent.name:
        raise not_theirs()
    return document(drp.status(facts, service.id))


@router.delete("/data-rights-request/{request_id}", response_model=drp.Status, openapi_extra=SIGNED)
async def revoke(call: Call, request_id: str, agent: Agent) -> Response:
    """Withdraw a request, until work on it has begun."""
    body = await call.body()
    return document(await run_in_threadpool(_revoke, service_of(call).ledger, request_id, agent, body))


def not_theirs() -> HTTPException:
    """The answer where there is no such request of this agent."""
    return HTTPException(403, "this is no request of this agent")


def error(code: int, message: str) -> Fault:
    """A fault as the protocol has it (section 3.06)."""
    return Fault(code=str(code), message=message, fatal=code in (400, 403, 422))


def _pair(ledger: Ledger, agent_id: str, body: bytes) -> str:
    with ledger.session() as session:
        row = session.scalar(select(Token).where(Token.name == agent_id, Token.role == Role.agent))
        if row is None or row.revoked or row.expires <= datetime.now(UTC):
            raise drp.Forbidden("no such agent")
        values = drp.opened(body, MESSAGE, row.verify_key)
        claims = drp.claims_of(values, MESSAGE)
        drp.check_claims(claims, MESSAGE, agent_id, ledger.policy.service.business_id)
        token = new_secret()
        row.digest = digest_of(token)
        events.append(session, "token-added", agent_id, token=agent_id, role=Role.agent)
    return token


def _exercise(ledger: Ledger, agent: Caller, body: bytes) -> drp.Status:
    values = drp.opened(body, MESSAGE, _key(ledger, agent))
    drp.check_claims(drp.claims_of(values, MESSAGE), MESSAGE, agent.name, ledger.policy.service.business_id)
    facts, _ = take_in(ledger, drp.read(values, MESSAGE), agent.name)
    with ledger.reading() as session:
        return drp.status(facts, events.head(session).ledger)


def _revoke(ledger: Ledger, request_id: str, agent: Caller, body: bytes) -> drp.Status:
    values = drp.opened(body, MESSAGE, _key(ledger, agent))
    reason = validated(drp.Revocation, values, f"{MESSAGE} is no revocation").reason
    with ledger.session() as session:
        id_ = events.head(session).ledger
        number = drp.number_in(request_id, id_)
        request = _of(
            session.scalar(select(Request).where(Request.number == number)) if number else None, agent
        )
        move(session, request, State.withdrawn, agent.name, reason or "revoked by the agent")
        return drp.status(short_facts(session, request), id_)


def _key(ledger: Ledger, agent: Caller) -> str:
    with ledger.reading() as session:
        return session.scalar(select(Token.verify_key).where(Token.name == agent.name)) or ""


def _of(request: Request | None, agent: Caller) -> Request:
    """The request, if it is this agent's; raises 403 as the protocol wants it, also where there is none."""
    if request is None or request.sender != agent.name:
        raise not_theirs()
    return request
