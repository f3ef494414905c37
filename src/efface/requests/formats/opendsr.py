"""OpenDSR 2.0 (https://github.com/opengdpr/OpenDSR): the request of a controller, and the status that it is told.

The identity types of the format are accounts and advertising ids, so images are named in `extensions`, under the domain of
the processor: `{"extensions": {"erase.example.org": {"image_sha256": ["..."]}}}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from efface.documents import Described
from efface.errors import InputError
from efface.ledger.requests import NewCallback, NewRequest, RequestFacts
from efface.ledger.states import ELSEWHERE, State
from efface.requests.formats.values import IMAGES, CallbackUrl, Foreign, PastMoment, Sha256s, Text
from efface.settings import validated

VERSION = "2.0"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
IDENTITY_FORMATS = ("raw", "sha1", "md5", "sha256")
CANCELLABLE = "pending"
"""The status in which a controller may cancel its request."""


def _uuid4(text: str) -> str:
    if not UUID4.fullmatch(text):
        raise ValueError("a UUID of version 4 in small letters is needed")
    return text


def _erasure(text: str) -> str:
    if text != "erasure":
        raise ValueError("only erasure is carried out here")
    return text


class Identity(Foreign):
    """Whom the request is about, as the controller knows the person."""

    identity_type: Text
    identity_value: Text
    identity_format: Literal["raw", "sha1", "md5", "sha256"]


class Extension(Foreign):
    """What efface reads of the extension under its domain."""

    image_sha256: Sha256s = ()


class Body(Foreign):
    """The body of POST /requests."""

    regulation: Literal["gdpr", "ccpa"]
    subject_request_id: Annotated[str, AfterValidator(_uuid4)]
    subject_request_type: Annotated[str, AfterValidator(_erasure)]
    submitted_time: PastMoment
    subject_identities: tuple[Identity, ...] = Field((), max_length=100)
    status_callback_urls: tuple[CallbackUrl, ...] = Field((), max_length=10)
    extensions: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Body:
        if not self.subject_identities and not self.extensions:
            raise ValueError("subject_identities is needed where there is no extensions")
        return self


class Status(Described):
    """What GET /requests/{id} answers, and the body of a status file."""

    controller_id: str = Field(description="the sender, as this service knows it")
    subject_request_id: str = Field(description="the sender's id of the request")
    expected_completion_time: str = Field(description="when it must be answered")
    request_status: str = Field(description="pending, in_progress, completed or cancelled")
    api_version: str = Field(description="version of the format")
    results_url: str | None = Field(description="none: an erasure gives nothing to fetch")
    results_count: int | None = Field(description="images that were located, once the request is completed")


class Receipt(Described):
    """What POST /requests answers."""

    controller_id: str = Field(description="the sender, as this service knows it")
    subject_request_id: str = Field(description="the sender's id of the request")
    received_time: str = Field(description="when it was taken in here")
    expected_completion_time: str = Field(description="when it must be answered")
    encoded_request: str = Field(description="the body that came in, base64")


class Cancellation(Described):
    """What DELETE /requests/{id} answers."""

    controller_id: str = Field(description="the sender, as this service knows it")
    subject_request_id: str = Field(description="the sender's id of the request")
    received_time: str = Field(description="when the cancellation came in")
    api_version: str = Field(description="version of the format")


def read(values: Mapping[str, JsonValue], where: str, sender: str, domain: str | None = None) -> NewRequest:
    """A request from its JSON; raises `InputError` that names all faults.

    domain: the processor's, whose extension names the images; None takes the one extension that names any.
    """
    what = f"{where} is no OpenDSR request that can be taken in"
    digests, faults = _images(values.get("extensions"), domain)
    try:
        body = validated(Body, values, what)
    except InputError as error:
        raise InputError(*error.problems, *faults, what=what) from None
    if faults:
        raise InputError(*faults, what=what)
    contact = None
    for identity in body.subject_identities:
        if (identity.identity_type, identity.identity_format) == ("email", "raw"):
            contact = contact or identity.identity_value
    return NewRequest(
        sender=sender,
        sender_id=body.subject_request_id,
        format="opendsr",
        received=body.submitted_time,
        digests=digests,
        regime=body.regulation.upper(),
        contact=contact,
        letter="\n".join(
            f"{one.identity_type} ({one.identity_format}): {one.identity_value}"
            for one in body.subject_identities
        )
        or None,
        callbacks=[NewCallback(url) for url in body.status_callback_urls],
    )


def status(request: RequestFacts) -> Status:
    """The status of a request, as OpenDSR has it."""
    state = ELSEWHERE[request.state].opendsr
    count = 0 if request.state == State.not_found else request.located.get("confirmed", 0)
    return Status(
        controller_id=request.sender,
        subject_request_id=request.sender_id,
        expected_completion_time=request.due,
        request_status=state,
        api_version=VERSION,
        results_url=None,
        results_count=count if state == "completed" else None,
    )


def discovery(certificate: str | None, domain: str | None) -> dict[str, JsonValue]:
    """What GET /discovery answers. certificate: where the one that signs answers lies."""
    return {
        "api_version": VERSION,
        "supported_identities": [
            {"identity_type": kind, "identity_format": how}
            for kind in ("controller_customer_id", "email")
            for how in IDENTITY_FORMATS
        ],
        "supported_subject_request_types": ["erasure"],
        "processor_certificate": certificate,
        "extensions": {domain or "DOMAIN": {IMAGES: "list of sha256 digests of image files"}},
    }


def _images(extensions: JsonValue, domain: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The images that the extension of this domain names (None: the one that names any), and what is wrong there."""
    parts = extensions if isinstance(extensions, dict) else {}
    named = {name: part for name, part in parts.items() if isinstance(part, dict) and IMAGES in part}
    if domain:
        named = {name: part for name, part in named.items() if name == domain}
    if len(named) > 1:
        return (), [
            f"extensions: several name images: {', '.join(sorted(named))}; the policy's service.domain says which is ours"
        ]
    for name, part in named.items():
        try:
            return validated(Extension, part, name).image_sha256, []
        except InputError as error:
            return (), [f"extensions.{name}.{problem}" for problem in error.problems]
    return (), []
