"""Taking requests in: photos, folders of them, lists of hashes, JSON. All is read and judged before anything is kept.

Other formats lie in `formats/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import Field

from efface.documents import MOST_JSON, Described, read_bytes
from efface.errors import Faults, InputError
from efface.files import no_such, sha256_of_bytes
from efface.images.items import Locator, ReadingError
from efface.images.reading import header
from efface.images.rows import TABLE_SUFFIXES
from efface.images.sources import list_source, nothing_in
from efface.images.threads import Progress
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy
from efface.ledger.requests import NewRequest, add_request
from efface.ledger.states import State
from efface.requests.formats.documents import read_document
from efface.requests.formats.hashes import requests_of_hashes
from efface.requests.uploads import add_photo
from efface.wording import counted, printable


@dataclass(frozen=True)
class Photo:
    """A photo that came with a request. digest: sha256 (hex) of its bytes."""

    source: Locator
    digest: str


@dataclass(frozen=True)
class Incoming:
    """A request that was read, and the photos that came with it. place: what it was read from."""

    new: NewRequest
    place: str
    photos: tuple[Photo, ...] = ()


class Added(Described):
    """What became of a request that came in."""

    id: str = Field(description="our id")
    known: bool = Field(description="whether it was there before: then nothing was changed")
    state: State = Field(description="where it stands")
    due: str = Field(description="when it must be answered, in UTC")
    images: int = Field(description="images that came with it")
    place: str = Field(description="what it was read from")


def take_in(
    ledger: Ledger, places: Sequence[str], stated: NewRequest, actor: str, progress: Progress | None = None
) -> list[Added]:
    """Take in every request of some files and folders; each is a transaction, and a known one is the same request.

    stated: what is said of all of them, where a file does not say it itself. Raises one `InputError` for all that is wrong,
    before anything is kept.
    """
    with Faults("no request was taken in") as faults:
        read = [
            one
            for place in places
            for one in faults.tried(partial(read_requests, place, stated, ledger.policy)) or ()
        ]
        if len(read) > 1 and stated.sender_id is not None:
            faults.add(f"--id names one request, and these are {len(read)}")
    added = []
    for done, incoming in enumerate(read, 1):
        added.append(_taken(ledger, incoming, actor))
        if progress:
            progress("taking in requests", done, len(read))
    return added


def read_requests(place: str, stated: NewRequest, policy: Policy) -> list[Incoming]:
    """The requests in a file or folder; raises `InputError`."""
    if not os.path.exists(place):
        raise InputError(f"{printable(place)}: {no_such(place)}")
    if place.lower().endswith(TABLE_SUFFIXES):
        return [
            Incoming(new, place)
            for new in requests_of_hashes(Path(place), replace(stated, sender=stated.sender or "csv"))
        ]
    if place.lower().endswith(".json"):
        new = read_document(read_bytes(place, MOST_JSON), printable(place), policy)
        return [Incoming(_with_stated(new, stated), place)]
    photos = tuple(_photos(place))
    digests = [photo.digest for photo in photos]
    return [Incoming(replace(stated, sender=stated.sender or "photos", digests=digests), place, photos)]


def _with_stated(new: NewRequest, stated: NewRequest) -> NewRequest:
    """A request, with what was said of it where it does not say that itself."""
    return replace(
        new,
        regime=new.regime or stated.regime,
        language=new.language or stated.language,
        name=new.name or stated.name,
        contact=new.contact or stated.contact,
        letter=new.letter or stated.letter,
    )


def _taken(ledger: Ledger, incoming: Incoming, actor: str) -> Added:
    with ledger.session() as session:
        request, is_new = add_request(ledger, session, incoming.new, actor)
        for photo in incoming.photos if is_new else ():
            data = photo.source.read_bytes()
            if sha256_of_bytes(data) != photo.digest:
                raise InputError(
                    f"{printable(photo.source.where)} changed while it was taken in; give the same command again"
                )
            add_photo(ledger, session, request, data, actor)
        return Added(
            id=request.id,
            known=not is_new,
            state=State(request.state),
            due=request.due.isoformat(timespec="seconds"),
            images=len(request.supplied),
            place=printable(incoming.place),
        )


def _photos(place: str) -> Iterator[Photo]:
    """All photos of a folder, or the one; every one must be readable, as a request is taken whole."""
    listing = list_source(place, whole=True)
    with Faults(f"{printable(place)} cannot be taken in whole") as faults:
        faults.problems += listing.problems + [str(fault) for fault in listing.faults]
        if not (listing.candidates or faults):
            faults.add(nothing_in(listing))
        for candidate in listing.candidates:
            try:
                data = candidate.source.read_bytes()
                header(data)
            except ReadingError as error:
                faults.add(f"{candidate}: {error.reason}")
            except OSError as error:
                faults.add(f"{candidate}: {error.strerror or error}")
            else:
                yield Photo(candidate.source, sha256_of_bytes(data))


def received_now() -> datetime:
    """When a request came in of which nobody says it."""
    return datetime.now(UTC).replace(microsecond=0)


def said(added: Sequence[Added]) -> str:
    """What became of all, in a sentence."""
    new = sum(not one.known for one in added)
    known = len(added) - new
    return f"{counted(new, 'request')} taken in" + (f", {known} known before" if known else "")
