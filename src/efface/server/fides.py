"""Fides: its pre-approval webhook (`/fides/pre-approval`) and a connector that is answered later (`/fides/erasure`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi import Request as Call
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from efface.documents import Described, parse_json
from efface.errors import InputError
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewCallback, NewRequest, RequestFacts, add_request, call_back, short_facts
from efface.requests.formats import fides
from efface.requests.formats.values import IMAGES, keyed_values
from efface.server.access import may
from efface.server.serving import Problem, answers, service_of
from efface.server.tokens import Caller, Role

Fides = Annotated[Caller, Depends(may(Role.intake))]
WHERE = "the body"
BODY = {
    "requestBody": {
        "required": True,
        "description": f"as Fides sends it; images stand in the custom field `{IMAGES}`",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FidesRequest"}}},
    }
}
router = APIRouter(prefix="/fides", tags=["Fides"], responses=answers(Problem))


class TakenIn(Described):
    """What Fides is answered at once; the decision or the end follows by its callback."""

    taken_in: bool = Field(description="whether this is a request for erasure, which is taken in")
    id: str | None = Field(description="our id of the request")
    status: str | None = Field(description="where it stands, in Fides' words")


@router.post("/pre-approval", response_model=TakenIn, openapi_extra=BODY)
async def pre_approval(
    call: Call,
    caller: Fides,
    eligible: Annotated[str | None, Header(alias="reply-to-eligible")] = None,
    not_eligible: Annotated[str | None, Header(alias="reply-to-not-eligible")] = None,
    token: Annotated[str | None, Header(alias="reply-to-token")] = None,
) -> TakenIn:
    """The webhook: a person's request waits for approval. It is answered once it was approved or refused here."""
    values = keyed_values(parse_json(await call.body(), WHERE), WHERE)
    if values.get("policy_action") not in ("erasure", None):
        return TakenIn(taken_in=False, id=None, status=None)
    if not (eligible and not_eligible and token):
        raise InputError("the headers reply-to-eligible, reply-to-not-eligible and reply-to-token are needed")
    new = fides.read(values, WHERE, caller.name)
    return await run_in_threadpool(
        _take_in, service_of(call).ledger, new, caller, (eligible, not_eligible), token
    )


@router.post("/erasure", status_code=202, response_model=TakenIn, openapi_extra=BODY)
async def erasure(
    call: Call,
    caller: Fides,
    reply_to: Annotated[str, Header(alias="reply-to")],
    token: Annotated[str, Header(alias="reply-to-token")],
) -> TakenIn:
    """The connector: a request is to be carried out. Fides is called back when the models are replaced."""
    new = fides.read(keyed_values(parse_json(await call.body(), WHERE), WHERE), WHERE, caller.name)
    return await run_in_threadpool(_take_in, service_of(call).ledger, new, caller, (reply_to,), token)


def _take_in(
    ledger: Ledger, new: NewRequest, caller: Caller, replies: tuple[str, ...], token: str
) -> TakenIn:
    base, paths = ledger.policy.service.fides.rstrip("/"), [fides.path_of(reply) for reply in replies]
    if not base:
        raise InputError("the policy does not say where Fides is; set service.fides")
    if None in paths:
        raise InputError(f"the reply-to headers must be paths of Fides' API, not {', '.join(replies)[:200]}")
    with ledger.session() as session:
        request, _ = add_request(ledger, session, new, caller.name)
        for path in paths:
            call_back(request, NewCallback(f"{base}{path}", token))
        facts: RequestFacts = short_facts(session, request)
    return TakenIn(taken_in=True, id=facts.id, status=fides.status(facts).status)
