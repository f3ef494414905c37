"""JSON documents of any published format: which one it is, and the status in the format in which a request came."""

from __future__ import annotations

from pydantic import JsonValue

from efface.documents import parse_json
from efface.errors import InputError
from efface.ledger.policy import Policy
from efface.ledger.requests import NewRequest, RequestFacts
from efface.requests.formats import drp, fides, opendsr
from efface.requests.formats.values import keyed_values


def read_document(data: bytes, where: str, policy: Policy, sender: str = "file") -> NewRequest:
    """A request of OpenDSR, of the Data Rights Protocol (signed or not), or of Fides; raises `InputError`.

    Who gives a file vouches for it: signatures are checked by the service alone. sender: who sent it, where the format does
    not say that.
    """
    text = data.lstrip()
    signed = not text.startswith((b"{", b"[", b"\xef\xbb\xbf"))
    values = drp.opened(data, where, None) if signed else keyed_values(parse_json(data, where), where)
    if "subject_request_id" in values:
        return opendsr.read(values, where, sender, policy.service.domain or None)
    if "agent-id" in values or "exercise" in values:
        return drp.read(values, where)
    if "privacy_request_id" in values:
        return fides.read(values, where, sender)
    raise InputError(
        f"{where} is no request of a known format: OpenDSR has subject_request_id, the Data Rights Protocol agent-id, "
        "Fides privacy_request_id"
    )


def status_document(request: RequestFacts, ledger: str) -> dict[str, JsonValue]:
    """Where a request stands, in the format in which it came; our own where that has none. ledger: its id, a UUID."""
    if request.format == "opendsr":
        return opendsr.status(request).as_dict()
    if request.format == "drp":
        return drp.status(request, ledger).as_dict()
    if request.format == "fides":
        return fides.status(request).as_dict()
    return request.as_dict()
