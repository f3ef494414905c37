"""Erasing what a ledger may keep no longer: supplied photos, and names, addresses and letters of people.

What will be erased is written down first, then erased, then said; a kill between is made good by the next sweep.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.states import State
from efface.ledger.tables import PersonalFile, Request, SuppliedImage
from efface.runs.erasing import Entry, entries_below, erase

ABANDONED = 3600.0
"""Seconds after which a file in `uploads/` that no request names was left by a command that died."""


class Swept(Described):
    """What was erased."""

    photos: int = Field(description="supplied photos")
    personal: int = Field(
        description="requests whose name, contact, hashes and letters, ours too, were erased"
    )
    abandoned: int = Field(description="files in uploads/ that no request names")


def sweep(ledger: Ledger, actor: str, now: datetime | None = None) -> Swept:
    """Erase all that the policy says is due by now."""
    now = now or datetime.now(UTC)
    with ledger.session() as session:
        photos = list(session.scalars(photos_due(ledger, now)))
        persons = list(session.scalars(persons_due(ledger, now)))
        # the digests of what came with a request are as good as a name
        of_persons = _with_digest(session, [one.request_id for one in persons])
        photos += [one for one in of_persons if one.place and one not in photos]
        for kind, ids in (
            ("photos-erasing", [one.keyed for one in photos]),
            ("personal-erasing", [one.request_id for one in persons]),
        ):
            if ids:
                events.append(session, kind, actor, of=ids)
    places = {one.place for one in photos if one.place}
    erase(
        ledger.uploads,
        [entry for entry in entries_below(ledger.uploads) if f"uploads/{entry.name}" in places],
    )
    answered = {one.request_id for one in persons}
    letters = [entry for entry in entries_below(ledger.answers) if entry.name.partition("/")[0] in answered]
    erase(ledger.answers, letters)
    abandoned = _abandoned(ledger)
    erase(ledger.uploads, abandoned)
    _drop_empty(ledger.uploads)
    if photos or persons:
        with ledger.session() as session:
            _forget(session, photos, persons, now, actor)
        ledger.flush()
    return Swept(photos=len(photos), personal=len(persons), abandoned=len(abandoned))


def photos_due(ledger: Ledger, now: datetime) -> Select[SuppliedImage]:
    """Supplied photos that must be erased by now."""
    policy = ledger.policy.supplied_photos
    over = Request.answered.is_not(None) | (Request.state == State.withdrawn)
    if policy.keep == "days":
        over |= Request.received < now - timedelta(days=policy.days)
    elif policy.keep == "not":
        over |= Request.state.not_in((State.received, State.needs_input))
    return select(SuppliedImage).join(Request).where(SuppliedImage.place.is_not(None), over)


def persons_due(ledger: Ledger, now: datetime) -> Select[PersonalFile]:
    """Personal files that must be erased by now: some days after the answer, or after the person took the request back."""
    latest = now - timedelta(days=ledger.policy.keep_request_days)
    over = or_(Request.answered < latest, (Request.state == State.withdrawn) & (Request.changed < latest))
    return select(PersonalFile).join(Request).where(PersonalFile.erased.is_(None), over)


def _with_digest(session: Session, requests: list[str]) -> Iterable[SuppliedImage]:
    return session.scalars(
        select(SuppliedImage).where(SuppliedImage.request_id.in_(requests), SuppliedImage.digest.is_not(None))
    )


def _forget(
    session: Session, photos: list[SuppliedImage], persons: list[PersonalFile], now: datetime, actor: str
) -> None:
    for photo in photos:
        row = session.get_one(SuppliedImage, photo.id)
        row.place, row.erased = None, now
    for person in persons:
        file = session.get_one(PersonalFile, person.request_id)
        file.name = file.contact = file.letter = None
        file.erased = now
        # the sender's id may be an address
        file.request.sender_id = events.digest_of(f"{file.request.sender} {file.request.sender_id}")
        for image in file.request.supplied:
            image.digest, image.erased = None, image.erased or now
    if photos:
        events.append(session, "photos-erased", actor, of=[one.keyed for one in photos])
    if persons:
        events.append(session, "personal-erased", actor, of=[one.request_id for one in persons])


def _abandoned(ledger: Ledger) -> list[Entry]:
    with ledger.reading() as session:
        known = set(session.scalars(select(SuppliedImage.place).where(SuppliedImage.place.is_not(None))))
    old = time.time() - ABANDONED
    return [
        entry
        for entry in entries_below(ledger.uploads)
        if f"uploads/{entry.name}" not in known and (ledger.uploads / entry.name).lstat().st_mtime < old
    ]


def _drop_empty(uploads: Path) -> None:
    for folder in uploads.iterdir():
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
