"""Checks of a ledger: its chain, what its tables say against what the events say, and whether erasure is on time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.errors import Mismatch
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.sets import digest_of_rows
from efface.ledger.sweeping import persons_due, photos_due
from efface.ledger.tables import Answer, Event, ImageSet, ModelVersion, Request
from efface.runs.verification import Check
from efface.wording import counted, several

TOLD: Mapping[str, tuple[str, str]] = {
    "request-added": ("request", "state"),
    "request-state": ("request", "after"),
    "model-added": ("model", "status"),
    "model-status": ("model", "after"),
    "set-added": ("set", "digest"),
}
"""By kind of event the thing that it happened to, and what it says of that."""


def verify_ledger(ledger: Ledger, now: datetime | None = None) -> list[Check]:
    """Every check of a ledger, each with its outcome. Nothing is changed."""
    with ledger.reading() as session:
        return [
            _chain(session),
            *_tables(session),
            _answers(session),
            *_on_time(ledger, session, now or datetime.now(UTC)),
        ]


def _chain(session: Session) -> Check:
    try:
        end = events.check_chain(session)
    except Mismatch as error:
        return Check("chain of events", "differs", str(error))
    return Check("chain of events", "matches", f"{counted(end.number, 'event')}, head {end.digest}")


def _tables(session: Session) -> Iterator[Check]:
    """What the last event of each thing says, against its row."""
    told: dict[str, dict[str, JsonValue]] = {"request": {}, "model": {}, "set": {}}
    rows = select(Event).where(Event.kind.in_(TOLD)).order_by(Event.number)
    for event in session.scalars(rows.execution_options(yield_per=events.READ)):
        thing, says = TOLD[event.kind]
        ids = events.facts_of(event).ids
        told[thing][str(ids.get(thing))] = ids.get(says)
    sets = session.scalars(select(ImageSet)).all()
    for unfinished in (one for one in sets if one.indexed is None):
        told["set"].pop(str(unfinished.id), None)
    there: dict[str, dict[str, JsonValue]] = {
        "request": {str(id_): state for id_, state in session.execute(select(Request.id, Request.state))},
        "model": {
            str(id_): status for id_, status in session.execute(select(ModelVersion.id, ModelVersion.status))
        },
        "set": {str(one.id): digest_of_rows(session, one.id) for one in sets if one.indexed is not None},
    }
    for thing, what in (
        ("request", "states of requests"),
        ("model", "statuses of models"),
        ("set", "image sets"),
    ):
        stated, has = told[thing], there[thing]
        unlike = sorted(id_ for id_ in {*stated, *has} if stated.get(id_) != has.get(id_))
        if unlike:
            yield Check(what, "differs", f"the events tell otherwise of {thing} {several(unlike)}")
        else:
            yield Check(what, "matches", f"{len(has)}, as the events tell")


def _answers(session: Session) -> Check:
    """Whether the heads that stand in answers are in the chain."""
    rows = session.execute(
        select(Answer.request_id, Answer.head_digest, Event.digest)
        .outerjoin(Event, Event.number == Answer.head_number)
        .order_by(Answer.id)
    ).all()
    unlike = [id_ for id_, stated, digest in rows if stated != digest]
    if unlike:
        return Check("heads in answers", "differs", f"not in the chain, in the answers to {several(unlike)}")
    return Check("heads in answers", "matches", f"{len(rows)}, all in the chain")


def _on_time(ledger: Ledger, session: Session, now: datetime) -> Iterator[Check]:
    photos = len(session.scalars(photos_due(ledger, now)).all())
    persons = [one.request_id for one in session.scalars(persons_due(ledger, now))]
    for what, late in (
        ("supplied photos", counted(photos, "photo") if photos else ""),
        ("personal files", f"those of {several(persons)}" if persons else ""),
    ):
        if late:
            yield Check(what, "differs", f"to be erased by now: {late}. Run: efface requests sweep")
        else:
            yield Check(what, "matches", "nothing is kept longer than the policy says")
