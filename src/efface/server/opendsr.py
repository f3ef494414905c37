"""OpenDSR 2.0: `/v2/discovery`, `/v2/requests`, `/v2/status`. The controller is the holder of the token."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Request as Call
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, JsonValue

from efface.documents import Described, parse_json
from efface.ledger.requests import BY_SENDER, move, short_facts
from efface.ledger.states import State
from efface.requests.formats import opendsr
from efface.requests.formats.values import keyed_values
from efface.server.access import in_public, may
from efface.server.serving import answers, no_request, sent_by, service_of, take_in
from efface.server.tokens import Caller, Role

Controller = Annotated[Caller, Depends(may(Role.intake))]
WHERE = "the body"


class Detail(Described):
    """One fault."""

    domain: str = Field(description="who says so")
    reason: str = Field(description="its kind")
    message: str = Field(description="what is wrong")


class Fault(Described):
    """What is wrong with a call."""

    code: int = Field(description="the status of the answer")
    message: str = Field(description="what is wrong, in a sentence or a list")
    errors: list[Detail] = Field(description="each fault")


class Faults(Described):
    """The format's answer to a call that is wrong."""

    error: Fault = Field(description="what is wrong")


router = APIRouter(prefix="/v2", tags=["OpenDSR 2.0"], responses=answers(Faults))


@router.get("/discovery", dependencies=[Depends(in_public)])
async def discovery(call: Call) -> Response:
    """What this processor takes."""
    service = service_of(call).ledger.policy.service
    at = f"{service.public_url.rstrip('/')}/v2/certificate" if service_of(call).signer else None
    return _answer(call, opendsr.discovery(at, service.domain or None))


@router.get("/certificate", dependencies=[Depends(in_public)], response_class=Response)
async def certificate(call: Call) -> Response:
    """The certificate with which answers and callbacks are signed (PEM)."""
    signer = service_of(call).signer
    if signer is None:
        raise HTTPException(
            404, "answers are not signed: the policy names no certificate (service.certificate)"
        )
    return Response(signer.certificate, media_type="application/x-pem-file")


@router.post(
    "/requests",
    status_code=201,
    response_model=opendsr.Receipt,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenDSRRequest"}}},
        }
    },
)
async def add(call: Call, controller: Controller) -> Response:
    """Hand a request in. Sent once more it is the same request."""
    ledger, body = service_of(call).ledger, await call.body()
    values = keyed_values(parse_json(body, WHERE), WHERE)
    new = opendsr.read(values, WHERE, controller.name, ledger.policy.service.domain or None)
    facts, _ = await run_in_threadpool(take_in, ledger, new, controller.name)
    receipt = opendsr.Receipt(
        controller_id=controller.name,
        subject_request_id=facts.sender_id,
        received_time=datetime.now(UTC).isoformat(timespec="seconds"),
        expected_completion_time=facts.due,
        encoded_request=base64.b64encode(body).decode(),
    )
    return _answer(call, receipt, 201)


@router.get("/requests/{subject_request_id}", response_model=opendsr.Status)
@router.get("/status/{subject_request_id}", response_model=opendsr.Status)
async def status(call: Call, subject_request_id: str, controller: Controller) -> Response:
    """Where a request stands. It is read at once: readers of the ledger wait for nobody."""
    reader = service_of(call).status
    facts = reader.facts(BY_SENDER, sender=controller.name, sender_id=subject_request_id)
    if facts is None:
        raise no_request(subject_request_id)
    return _answer(call, opendsr.status(facts))


@router.delete("/requests/{subject_request_id}", status_code=202, response_model=opendsr.Cancellation)
def cancel(call: Call, subject_request_id: str, controller: Controller) -> Response:
    """Withdraw a request, as long as it is pending."""
    with service_of(call).ledger.session() as session:
        request = sent_by(session, controller.name, subject_request_id)
        if opendsr.status(short_facts(session, request)).request_status != opendsr.CANCELLABLE:
            raise HTTPException(409, "the request is no longer pending, and cannot be cancelled")
        move(session, request, State.withdrawn, controller.name, "cancelled by the controller")
    return _answer(
        call,
        opendsr.Cancellation(
            controller_id=controller.name,
            subject_request_id=subject_request_id,
            received_time=datetime.now(UTC).isoformat(timespec="seconds"),
            api_version=opendsr.VERSION,
        ),
        202,
    )


def error(code: int, message: str, problems: Sequence[str]) -> Faults:
    """A fault as the format has it (section 7.6)."""
    details = [Detail(domain="efface", reason="invalid", message=one) for one in problems]
    return Faults(error=Fault(code=code, message=message, errors=details))


def _answer(call: Call, value: BaseModel | Mapping[str, JsonValue], code: int = 200) -> Response:
    """JSON with the headers that the format wants: the domain, and the signature of the body."""
    body = value.model_dump_json().encode() if isinstance(value, BaseModel) else json.dumps(value).encode()
    service = service_of(call)
    if service.signer is not None:
        headers = service.signer.headers(body)
    else:
        headers = {"X-OpenDSR-Processor-Domain": service.ledger.policy.service.domain or "localhost"}
    return Response(body, code, headers, media_type="application/json")
