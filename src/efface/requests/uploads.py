"""Photos that come with a request, one at a time: kept in the ledger's folder until the policy has them erased."""

from __future__ import annotations

from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.files import replacing, sha256_of_bytes
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.requests import move
from efface.ledger.states import State
from efface.ledger.tables import Request, SuppliedImage

REOPENED = frozenset({State.not_found, State.needs_input})
"""States that end when a further photo comes in."""
TAKES = frozenset({State.received, State.located, *REOPENED})


def add_photo(ledger: Ledger, session: Session, request: Request, data: bytes, actor: str) -> SuppliedImage:
    """Keep a photo with its request; the same photo is kept once. Whoever calls has seen that it is a picture.

    Raises `InputError` where the request takes no more photos.
    """
    state, digest = State(request.state), sha256_of_bytes(data)
    keyed = ledger.keyed(digest)
    photo = next((one for one in request.supplied if one.keyed == keyed), None)
    if photo is not None and photo.place is not None:
        return photo
    if state not in TAKES:
        raise InputError(
            f"{request.id} is {state} and takes no more photos; let the person make a new request"
        )
    if photo is None:
        request.supplied.append(photo := SuppliedImage(keyed=keyed))
    photo.digest, photo.erased = digest, None
    photo.place = f"{ledger.uploads.name}/{request.id}-{keyed[:16]}"
    session.flush()
    events.append(session, "photo-added", actor, request=request.id, image=keyed)
    if state in REOPENED:
        move(session, request, State.received, actor, "a photo came in")
    with replacing(ledger.place / photo.place) as temporary:
        temporary.write_bytes(data)
    return photo
