"""The chain of events: what happened, who did it, when. Each event holds the digest of the one before.

Events hold ids and digests, never names or texts of people: these are erased, and the chain must outlive that.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

from pydantic import Field, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described, parse_json
from efface.errors import Mismatch
from efface.files import canonical_json, sha256_of_bytes, sha256_of_json
from efface.ledger.tables import Event, Head

KINDS: Mapping[str, str] = {
    "ledger-made": "the ledger was made",
    "set-added": "an image set was indexed",
    "model-added": "a model version was registered",
    "model-status": "a model version got another status",
    "request-added": "a request was taken in",
    "request-state": "a request got another state",
    "request-answered": "a letter was written",
    "images-located": "images that a request may mean were found in sets",
    "photo-added": "a photo of a request was taken in",
    "photos-erasing": "supplied photos are about to be erased",
    "photos-erased": "supplied photos were erased",
    "personal-erasing": "what requests say of people is about to be erased",
    "personal-erased": "names, addresses, letters and hashes of requests were erased",
    "token-added": "a token of the service was made",
    "token-revoked": "a token of the service was revoked",
    "decided": "a person decided on a request",
    "picture-viewed": "somebody looked at a picture",
    "callback-made": "a sender was told where its request stands",
    "callback-given-up": "a sender could not be told where its request stands",
    "work-begun": "a run for a model version began",
    "work-done": "it made a version that took the place of the old one",
    "work-not-met": "what it made does not meet the requirements",
    "work-failed": "it could not be carried out",
    "key-rotated": "keyed ids and masked fingerprints were made anew under another key",
}
ID = re.compile(r"[\w.:/+-]{1,200}", re.ASCII)
Id = str | int | None
READ = 1000
"""Events read at a time."""


class HeadFacts(Described):
    """Where the chain ends."""

    ledger: str = Field(description="id of the ledger, a UUID")
    number: int = Field(description="number of the last event")
    digest: str = Field(description="its digest (sha256)")
    key: str = Field(description="a digest by which the ledger's key is known")


class EventFacts(Described):
    """One line of what happened."""

    number: int = Field(description="place in the chain, from 1 on")
    time: str = Field(description="when, in UTC")
    kind: str = Field(description="what happened")
    actor: str = Field(description="who did it")
    ids: dict[str, JsonValue] = Field(description="ids and digests of what it happened to")
    digest: str = Field(description="sha256 over this event and the digest of the one before")


def append(session: Session, kind: str, actor: str, **ids: Id | list[str] | list[int]) -> Event:
    """Write the next event; the session is one of `Ledger.session`, which holds the chain's lock.

    ids: numbers, and texts without blanks. Raises `ValueError` for an unknown kind, or an id that looks like a text.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of event: {kind}")
    for name, value in ids.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and not ID.fullmatch(each):
                raise ValueError(f"{name} of {kind} is no id: {each!r}")
    head = head_row(session)
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    event = Event(number=head.number + 1, time=time, kind=kind, actor=actor, ids=canonical_json(ids))
    event.digest = head.digest = chained(event, head.digest)
    head.number = event.number
    session.add(event)
    session.flush()
    return event


def head_row(session: Session) -> Head:
    """The row of the head, locked until the end of the transaction where the database locks rows."""
    return session.execute(select(Head).with_for_update()).scalar_one()


def head(session: Session) -> HeadFacts:
    """Where the chain ends."""
    row = session.execute(select(Head)).scalar_one()
    return HeadFacts(ledger=row.ledger, number=row.number, digest=row.digest, key=row.key)


def chained(event: Event, before: str) -> str:
    """The digest of an event behind the one with the digest `before`."""
    return sha256_of_json(
        {
            "number": event.number,
            "time": event.time,
            "kind": event.kind,
            "actor": event.actor,
            "ids": parse_json(event.ids, f"event {event.number}"),
            "before": before,
        }
    )


def digest_of(text: str) -> str:
    """sha256 (hex) of a text, as it stands in events in the place of the text."""
    return sha256_of_bytes(text.encode("utf-8", "backslashreplace"))


def events_after(session: Session, number: int = 0) -> Generator[Event, None, None]:
    """The events after the one with this number, in order, some at a time."""
    query = select(Event).where(Event.number > number).order_by(Event.number)
    with closing(session.scalars(query.execution_options(yield_per=READ))) as rows:
        yield from rows


def some_after(session: Session, number: int, most: int) -> Sequence[Event]:
    """At most so many events after the one with this number, in order."""
    return session.scalars(
        select(Event).where(Event.number > number).order_by(Event.number).limit(most)
    ).all()


def facts_of(event: Event) -> EventFacts:
    """An event as it is printed."""
    ids = parse_json(event.ids, f"event {event.number}")
    return EventFacts(
        number=event.number,
        time=event.time,
        kind=event.kind,
        actor=event.actor,
        ids=ids if isinstance(ids, dict) else {},
        digest=event.digest,
    )


def check_chain(session: Session) -> HeadFacts:
    """Compute every digest again; raises `Mismatch` at the first event that does not follow from those before."""
    end, number, digest = head(session), 0, ""
    with closing(events_after(session)) as chain:
        for event in chain:
            if event.number != number + 1:
                raise Mismatch(f"event {number + 1} is missing: the chain goes on with {event.number}")
            number, digest = event.number, chained(event, digest)
            if digest != event.digest:
                raise Mismatch(
                    f"event {number} ({event.kind}) was changed after it was written, or one before it"
                )
    if (number, digest) != (end.number, end.digest):
        raise Mismatch(f"the chain ends with event {number}, and the head names event {end.number}")
    return end
