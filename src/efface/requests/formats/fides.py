"""Fides (https://github.com/ethyca/fides): its pre-approval webhook, and the call of a connector that answers later.

The webhook sends a privacy request that waits for approval; we answer `eligible` or `not-eligible` once somebody
decided. The connector sends it when Fides carries it out; we call back with the number of images once the models are
replaced. Both name the same privacy request, so both are one request here. Images are named in a custom field
`image_sha256`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, JsonValue

from efface.documents import Described
from efface.ledger.requests import NewRequest, RequestFacts
from efface.ledger.states import ELSEWHERE, State
from efface.requests.formats.values import IMAGES, Foreign, Id, PastMoment, Sha256s, Text
from efface.settings import validated

PREFIX = "/api/v1"
"""What the paths of Fides' API begin with; those in its webhook's headers lack it."""
ELIGIBLE = frozenset({State.approved, State.in_work, State.done})
NOT_ELIGIBLE = frozenset({State.not_found, State.refused, State.withdrawn})


class Person(Foreign):
    """Who asks, as Fides knows the person."""

    email: Text | None = None
    phone_number: Text | None = None


class Body(Foreign):
    """What the webhook sends, and the connector whose body repeats it."""

    privacy_request_id: Id
    callback_type: Literal["pre_approval", "pre", "post"] | None = None
    policy_action: Literal["erasure"] | None = None
    identity: Person = Person()
    requested_at: PastMoment | None = None
    image_sha256: Sha256s = ()


class Status(Described):
    """Where a privacy request stands here, in Fides' words."""

    privacy_request_id: str = Field(description="Fides' id of the request")
    status: str = Field(description="a status of Fides")
    rows_masked: int | None = Field(description="images that were erased, once that is done")


def read(values: Mapping[str, JsonValue], where: str, sender: str, now: datetime | None = None) -> NewRequest:
    """A privacy request from the body of the webhook or the connector; raises `InputError` that names all faults."""
    flat = dict(values)
    inner = values.get("privacy_request")
    for part in (values, inner if isinstance(inner, dict) else {}):
        if IMAGES not in flat and (images := _custom(part)) is not None:
            flat[IMAGES] = images
        if flat.get("requested_at") is None and part.get("requested_at"):
            flat["requested_at"] = part["requested_at"]
    if isinstance(images := flat.get(IMAGES), str):
        flat[IMAGES] = [word for word in re.split(r"[\s,;]+", images) if word]
    body = validated(Body, flat, f"{where} is no privacy request of Fides that can be taken in")
    return NewRequest(
        sender=sender,
        sender_id=body.privacy_request_id,
        format="fides",
        received=body.requested_at or now or datetime.now(UTC),
        digests=body.image_sha256,
        contact=body.identity.email or body.identity.phone_number,
    )


def status(request: RequestFacts) -> Status:
    """The status of a request in Fides' words; a withdrawn one is denied, for Fides has no word for it."""
    done = request.state == State.done
    return Status(
        privacy_request_id=request.sender_id,
        status=ELSEWHERE[request.state].fides or "denied",
        rows_masked=request.located.get("confirmed", 0) if done else None,
    )


def path_of(reply_to: str) -> str | None:
    """The path that a header names, under Fides' API; None for what is no such path."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]+){1,8}", reply_to) or any(
        part in (".", "..") for part in reply_to.split("/")
    ):
        return None
    return reply_to if reply_to.startswith(PREFIX + "/") else PREFIX + reply_to


def _custom(part: Mapping[str, JsonValue]) -> JsonValue:
    """The value of the custom field, bare or beside its label."""
    fields = part.get("custom_privacy_request_fields")
    value = fields.get(IMAGES) if isinstance(fields, dict) else None
    return value.get("value") if isinstance(value, dict) else value
