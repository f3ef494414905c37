"""Answering a request: the facts that the ledger and the runs hold, a letter of them, a status file, and an event.

An answer lies in `answers/REQUEST/NUMBER/`. Its files come first and its row last, so what a kill leaves is written
again. One that says where a request stands, because something is needed, is no last answer: the request stays open.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.errors import InputError
from efface.files import json_text, private_files, sha256_of_bytes, write_text
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.policy import Language
from efface.ledger.requests import request_named, short_facts
from efface.ledger.states import ENDED, State
from efface.ledger.tables import Answer, Erased, Event, ImageSet, LocatedImage, Request, SetImage, Work
from efface.requests.affected import CONFIRMED, DONE, Standing, standings
from efface.requests.formats.documents import status_document
from efface.requests.letters.facts import (
    AnswerFacts,
    ChainHead,
    Located,
    Outcome,
    Searched,
    Successor,
    VersionFacts,
)
from efface.requests.letters.writing import letter_of
from efface.runs.record import read_record

PAGE, TEXT, STATUS, FACTS = "letter.html", "letter.txt", "status.json", "facts.json"
NAMES = (PAGE, TEXT, STATUS, FACTS)
OUTCOMES: dict[State, Outcome] = {
    State.done: "carried out", State.not_found: "not located", State.refused: "refused",
    State.withdrawn: "withdrawn",
}  # fmt: skip
HOWS = ("exact", "copy", "look-alike")
"""Ways in which an image is located, the surest first."""
OWN_IDS = ("images-", "message-")
"""What ids begin with that were made here, where the sender gave none."""


class Answered(Described):
    """An answer that was written."""

    request: str = Field(description="our id of the request")
    state: State = Field(description="its state")
    final: bool = Field(description="whether the request is answered with it; else it says where it stands")
    is_new: bool = Field(description="whether it was written now; else nothing had changed since")
    language: Language = Field(description="language of the letter")
    folder: str = Field(description="where it lies: letter.html, letter.txt, status.json, facts.json")
    facts: str = Field(description="sha256 of the letter's facts")
    head_number: int = Field(description="number of the event with which the chain ended when it was written")
    head_digest: str = Field(description="digest of that event")


def answer(
    ledger: Ledger, name: str, actor: str, language: Language | None = None, again: bool = False
) -> Answered:
    """Write the answer to a request, with its event, in one transaction.

    language: of the letter; default: the request's. again: write it although nothing changed since the last one. Raises
    `InputError` where the request still has to be carried out.
    """
    with ledger.session() as session:
        request = request_named(session, name)
        _check_state(request)
        last = request.answers[-1] if request.answers else None
        language = language or request.language
        unchanged = last and last.written >= request.changed and last.language == language
        if last and unchanged and not again and (ledger.place / last.folder / PAGE).is_file():
            return _answered(ledger, request, last, is_new=False)
        now = datetime.now(UTC)
        facts = facts_of_answer(ledger, session, request, now, language)
        if State(request.state) in ENDED and request.answered is None:
            request.answered = now
        return _answered(ledger, request, _write(ledger, session, request, facts, now, actor), is_new=True)


def facts_of_answer(
    ledger: Ledger, session: Session, request: Request, now: datetime, language: Language
) -> AnswerFacts:
    """What there is to say, by the ledger and by the records of the runs.

    Raises `InputError` where that does not agree: a model in service that holds images of a request which is done.
    """
    try:
        return _facts(ledger, session, request, now, language)
    except ValidationError as error:
        faults = (str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise InputError(*faults, what=f"the answer to {request.id} would not be true") from None


def located_images(session: Session, request: Request) -> Located:
    """The images that a request means, each once, by the surest way in which it was located."""
    rows = session.execute(
        select(SetImage.keyed, LocatedImage.how)
        .join(SetImage, SetImage.id == LocatedImage.image_id)
        .where(LocatedImage.request_id == request.id, LocatedImage.decision == CONFIRMED)
    )
    surest: dict[str, str] = {}
    for keyed, how in rows:
        surest[keyed] = min(surest.get(keyed, how), how, key=HOWS.index)
    hows = list(surest.values())
    exact, copies, alike = (hows.count(how) for how in HOWS)
    return Located(exact=exact, copies=copies, alike=alike)


def _facts(
    ledger: Ledger, session: Session, request: Request, now: datetime, language: Language
) -> AnswerFacts:
    policy, person = ledger.policy, request.personal
    received = datetime.fromisoformat(request.received_as)
    state = State(request.state)
    located = located_images(session, request)
    versions = tuple(_versions(ledger, session, request)) if located.count else ()
    # what a run came to is no question to the person, and its reason is for the operator
    unfinished: Outcome = "not carried out" if list(_works(session, request)) else "needs input"
    outcome = OUTCOMES.get(state, unfinished)
    until = received + timedelta(days=policy.supplied_photos.days)
    is_erased = person is None or person.erased is not None
    kept_from = request.changed if state == State.withdrawn else request.answered or now
    listed = select(func.count()).select_from(Erased).where(Erased.request_id == request.id)
    head = events.head(session)
    return AnswerFacts(
        language=language,
        organisation=policy.organisation.name,
        contact=policy.organisation.contact,
        authority=policy.organisation.authority,
        not_touched=policy.organisation.not_touched,
        recipient=person.name if person else None,
        request=request.id,
        sender_id=None if is_erased or request.sender_id.startswith(OWN_IDS) else request.sender_id,
        regime=request.regime,
        received=received.date(),
        due=request.due.astimezone(received.tzinfo).date(),
        written=now.astimezone(received.tzinfo).date(),
        outcome=outcome,
        reason=request.reason if outcome in ("refused", "needs input") else None,
        searched=None if is_erased else _searched(session, request),
        located=located,
        versions=versions,
        fingerprints_kept=bool(session.scalar(listed)),
        personal_until=(kept_from + timedelta(days=policy.keep_request_days)).date()
        if not is_erased and state in ENDED
        else None,
        photos_until=until.date() if policy.supplied_photos.keep == "days" and state not in ENDED else None,
        chain=ChainHead(number=head.number, digest=head.digest),
    )


def _check_state(request: Request) -> None:
    """Refuse a request that is not to be answered yet."""
    state = State(request.state)
    if state not in ENDED and state != State.needs_input:
        left = {
            State.received: "its images have not been looked for: efface requests locate",
            State.located: "nobody has decided on it: efface requests approve, or refuse",
        }.get(state, "it is to be carried out first: efface requests run")
        raise InputError(f"{request.id} is {state}, and cannot be answered yet: {left}")


def _searched(session: Session, request: Request) -> Searched | None:
    """Which sets were searched: those that were indexed when its images were last located."""
    times = [
        event.time
        for event in events_of(session, request)
        if event.kind == "request-state" and event.ids.get("after") in (State.located, State.not_found)
    ]
    if not times:
        return None
    sets = list(
        session.scalars(select(ImageSet.id).where(ImageSet.indexed <= datetime.fromisoformat(max(times))))
    )
    images = select(func.count()).select_from(SetImage).where(SetImage.set_id.in_(sets))
    photos = sum(1 for one in request.supplied if one.place is not None or one.erased is not None)
    return Searched(
        photos=photos,
        checksums=len(request.supplied) - photos,
        sets=len(sets),
        images=session.scalar(images) or 0,
    )


def events_of(session: Session, request: Request) -> Iterator[events.EventFacts]:
    """The events that name a request, in order."""
    rows = select(Event).where(Event.ids.contains(f'"{request.id}"', autoescape=True))
    for event in session.scalars(rows.order_by(Event.number)):
        yield events.facts_of(event)


def _versions(ledger: Ledger, session: Session, request: Request) -> Iterator[VersionFacts]:
    """The versions that a letter speaks of: those that hold or held its images, and all that are in service."""
    works = {work.version_id: work for work in _works(session, request)}
    ours = {work.made_id for work in works.values() if work.made_id is not None}
    for one in standings(session, request):
        version = one.version
        if version.id in ours or version.parent_id in ours:
            ours.add(version.id)
            continue
        facts = _version(ledger, one, works.get(version.id))
        if facts.learnt or facts.forgotten or facts.status == "in-service":
            yield facts


def _works(session: Session, request: Request) -> Iterator[Work]:
    """The runs for a request, oldest first."""
    yield from session.scalars(
        select(Work).where(Work.requests.any(Request.id == request.id)).order_by(Work.id)
    )


def _version(ledger: Ledger, standing: Standing, work: Work | None) -> VersionFacts:
    version = standing.version
    return VersionFacts(
        name=version.name,
        status="in-service" if version.status in ledger.policy.in_service else version.status,
        learnt=len(standing.learnt),
        forgotten=len(standing.forgotten),
        successor=_successor(ledger, work) if work and standing.learnt else None,
    )


def _successor(ledger: Ledger, work: Work) -> Successor | None:
    """What a run made, from its record; None where it made nothing yet."""
    run = ledger.place / work.run
    if work.ended is None or not (run / "record.json").is_file():
        return None
    record = read_record(run)
    outcomes = record.requirements.outcomes if record.requirements else ()
    return Successor(
        name=work.made.name if work.made else Path(work.run).name,
        finished=datetime.fromisoformat(record.finished).date(),
        since=work.ended.date() if work.state == DONE and work.made else None,
        unmet=any(one.state != "met" for one in outcomes),
        claim=record.claim.level,
        base_saw=record.model.base.saw if record.model.base else None,
        reference_stages=record.retrained.stages if record.retrained else "all",
        verdict=record.verdict,
    )


def _write(
    ledger: Ledger, session: Session, request: Request, facts: AnswerFacts, now: datetime, actor: str
) -> Answer:
    letter = letter_of(facts)
    folder = ledger.answers / request.id / str(len(request.answers) + 1)
    texts = {
        PAGE: letter.html,
        TEXT: letter.text,
        STATUS: json_text(status_document(short_facts(session, request), events.head(session).ledger)),
        FACTS: json_text(facts.as_dict()),
    }
    with private_files():
        for name, text in texts.items():
            write_text(folder / name, text)
    digests = {name: sha256_of_bytes((folder / name).read_bytes()) for name in texts}
    row = Answer(
        folder=folder.relative_to(ledger.place).as_posix(),
        language=facts.language,
        digest=digests[FACTS],
        head_number=facts.chain.number,
        head_digest=facts.chain.digest,
        written=now,
    )
    request.answers.append(row)
    events.append(
        session,
        "request-answered",
        actor,
        request=request.id,
        answer=len(request.answers),
        head=facts.chain.digest,
        **{name.replace(".", "-"): digest for name, digest in digests.items()},
    )
    return row


def _answered(ledger: Ledger, request: Request, row: Answer, is_new: bool) -> Answered:
    return Answered(
        request=request.id,
        state=State(request.state),
        final=request.answered is not None,
        is_new=is_new,
        language=row.language,
        folder=str(ledger.place / row.folder),
        facts=row.digest,
        head_number=row.head_number,
        head_digest=row.head_digest,
    )
