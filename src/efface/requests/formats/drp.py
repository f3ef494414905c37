"""Data Rights Protocol 1.0 (https://github.com/datarightsprotocol/data-rights-protocol): signed requests of agents.

A message is JSON with an Ed25519 signature before it (libsodium's combined mode), base64 encoded. The protocol lets a
request hold further claims; images are named in `image_sha256`.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from efface.documents import Described, parse_json
from efface.errors import InputError
from efface.files import sha256_of_json
from efface.ledger.requests import NewCallback, NewRequest, RequestFacts
from efface.ledger.states import ELSEWHERE, State
from efface.requests.formats.values import CallbackUrl, Foreign, Id, Moment, Sha256s, Text, keyed_values
from efface.settings import validated

VERSION = "1.0"
SIGNATURE_BYTES = 64
NUMBER_BITS = 48
UNNAMED = "message-"
"""What our id of a message begins with where the agent gave it none."""


class Forbidden(InputError):
    """A message that does not prove who sent it, or is meant for somebody else: answered with 403."""


def _deletion(text: str) -> str:
    if text != "deletion":
        raise ValueError("only deletion is carried out here")
    return text


class Claims(Foreign):
    """Who sends a message, to whom, and for how long it holds (sections 2.01 and 2.05)."""

    agent: Id = Field(alias="agent-id")
    business: Id = Field(alias="business-id")
    issued: Moment = Field(alias="issued-at")
    expires: Moment = Field(alias="expires-at")


class Body(Claims):
    """The signed body of POST /v1/data-rights-request."""

    version: Text = Field(alias="drp.version")
    exercise: Annotated[Text, AfterValidator(_deletion)]
    regime: Text | None = None
    agent_request_id: Id | None = Field(None, alias="agent-request-id")
    status_callback: CallbackUrl | None = None
    image_sha256: Sha256s = ()
    name: Text | None = None
    email: Text | None = None
    email_verified: bool | None = None
    phone_number: Text | None = None
    phone_number_verified: bool | None = None
    address: JsonValue = None
    power_of_attorney: Text | None = None


class Revocation(Foreign):
    """The signed body of DELETE /v1/data-rights-request/{id}."""

    reason: Text | None = None


class Status(Described):
    """The protocol's Exercise Status (section 3.03)."""

    request_id: str = Field(description="our id of the request, a UUID")
    agent_request_id: str | None = Field(description="the agent's id of it, where it gave one")
    status: str = Field(description="open, in_progress, fulfilled, revoked or denied")
    reason: str | None = Field(description="why it was denied: no_match or other")
    received_at: str = Field(description="when it came in")
    expected_by: str = Field(description="when it must be answered")
    processing_details: str | None = Field(description="where it stands, in words")


def opened(data: bytes, where: str, verify_key: str | None) -> dict[str, JsonValue]:
    """What a signed message says; raises `Forbidden` where its signature is not that of `verify_key` (hexadecimal).

    Without a key the signature is not checked: that is for files which the operator vouches for.
    """
    try:
        message = base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where} is not base64") from None
    if len(message) <= SIGNATURE_BYTES:
        raise InputError(f"{where} is too short to hold a signature and a message")
    if verify_key is not None:
        from nacl.exceptions import BadSignatureError
        from nacl.signing import VerifyKey

        try:
            VerifyKey(bytes.fromhex(verify_key)).verify(message)
        except (BadSignatureError, ValueError, TypeError):
            raise Forbidden(f"{where} is not signed with the agent's key") from None
    return keyed_values(parse_json(message[SIGNATURE_BYTES:], where), where)


def check_claims(claims: Claims, where: str, agent: str, business: str, now: datetime | None = None) -> None:
    """Raise `Forbidden`, with all faults, unless a message comes from this agent, is meant for us, and holds now."""
    now = now or datetime.now(UTC)
    faults = []
    if claims.agent != agent:
        faults.append("agent-id is not that of the token")
    if claims.business != business:
        faults.append("business-id is not ours")
    if claims.issued > now:
        faults.append("issued-at is in the future")
    if claims.expires <= now:
        faults.append("expires-at is over")
    if faults:
        raise Forbidden(*faults, what=f"{where} does not hold")


def claims_of(values: Mapping[str, JsonValue], where: str) -> Claims:
    """Who sends a message, to whom, for how long; raises `InputError` that names all faults."""
    return validated(Claims, values, f"{where} is no message of the Data Rights Protocol")


def read(values: Mapping[str, JsonValue], where: str) -> NewRequest:
    """A request from its JSON; raises `InputError` that names all faults. The sender is its agent."""
    body = validated(Body, values, f"{where} is no request of the Data Rights Protocol that can be taken in")
    verified = {"email": body.email_verified, "phone_number": body.phone_number_verified}
    lines = [
        f"{name}: {value}{' (verified by the agent)' if verified.get(name) else ''}"
        for name in ("email", "phone_number", "address", "power_of_attorney")
        if (value := getattr(body, name)) is not None
    ]
    return NewRequest(
        sender=body.agent,
        sender_id=body.agent_request_id or f"{UNNAMED}{sha256_of_json(dict(values))[:32]}",
        format="drp",
        received=body.issued,
        digests=body.image_sha256,
        regime=(body.regime or "").upper() or None,
        name=body.name,
        contact=body.email or body.phone_number,
        letter="\n".join(lines) or None,
        callbacks=[NewCallback(body.status_callback)] if body.status_callback else [],
    )


def status(request: RequestFacts, ledger: str) -> Status:
    """The status of a request, as the protocol has it. ledger: the ledger's id, a UUID."""
    reasons = {State.not_found: "no_match", State.refused: "other"}
    return Status(
        request_id=request_id(ledger, request.id),
        agent_request_id=None if request.sender_id.startswith(UNNAMED) else request.sender_id,
        status=ELSEWHERE[request.state].drp,
        reason=reasons.get(request.state),
        received_at=request.received,
        expected_by=request.due,
        processing_details=request.reason,
    )


def request_id(ledger: str, request: str) -> str:
    """The UUID of a request: the ledger's, with our number in its last 48 bits (RFC 9562, version 8).

    >>> request_id("0b6d1c9e-5b0a-4f0e-9f57-2f6d6d1c3a11", "R-00017")
    '0b6d1c9e-5b0a-8f0e-9f57-000000000011'
    """
    number, mask = int(request.removeprefix("R-")), (1 << NUMBER_BITS) - 1
    made = bytearray((uuid.UUID(ledger).int & ~mask | number).to_bytes(16))
    made[6], made[8] = made[6] & 0x0F | 0x80, made[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(made)))


def number_in(request_uuid: str, ledger: str) -> int | None:
    """Our number of the request with this UUID; None where this ledger gave no such UUID."""
    try:
        number = uuid.UUID(request_uuid).int & (1 << NUMBER_BITS) - 1
    except ValueError:
        return None
    return number if request_id(ledger, f"R-{number}") == request_uuid.lower() else None
