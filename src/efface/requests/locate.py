"""Which images of the ledger's sets a request means: equal bytes, copies, and, where the policy wants it, look-alikes.

Nothing is written before all sets were gone through; then it is one transaction for each request. So a command that was
killed is given again, and what a person has decided meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import Field
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.errors import InputError
from efface.images.fingerprints import fingerprint, stacked
from efface.images.items import ReadingError
from efface.images.reading import decode_image
from efface.images.threads import Progress
from efface.ledger import events
from efface.ledger.copy_indexes import copy_index
from efface.ledger.opening import Ledger
from efface.ledger.requests import move, request_named
from efface.ledger.sets import finished_sets
from efface.ledger.states import State
from efface.ledger.tables import Erased, ImageSet, LocatedImage, Request, SetImage, SuppliedImage
from efface.requests.look_alikes import look_alikes
from efface.wording import counted

LOCATABLE = frozenset({State.received, State.needs_input, State.located, State.approved, State.not_found})
"""States in which images can still be looked for."""
WAITING = frozenset({State.received, State.located, State.approved})
"""Those in which they are looked for unasked, once there are sets that were not gone through."""
MOST_COPIES = 256
"""Copies of one photo that are looked at closely in each segment of a set."""
CERTAIN = frozenset({"exact", "copy"})
RANKS = ("look-alike", "copy", "exact")
IN_ONE_QUERY = 500

How = Literal["exact", "copy", "look-alike"]
Item = TypeVar("Item")


class Located(Described):
    """What was found for one request."""

    request: str = Field(description="our id of the request")
    state: State = Field(description="its state now")
    exact: int = Field(description="images with the same bytes as one that came with it")
    copies: int = Field(description="images that show the same as one that came with it")
    look_alikes: int = Field(description="images whose features are like those of one that came with it")
    added: int = Field(description="those of all these that are new")
    erased_before: int = Field(description="those of all these that were erased for an earlier request")
    unreadable: list[str] = Field(
        description="keyed ids of photos that came with it and cannot be read; none of their copies is found"
    )
    hashes_only: int = Field(description="images that came as a hash: only the same bytes are found")


@dataclass(frozen=True)
class Hit:
    """An image of a set that may be meant."""

    image: int
    supplied: int
    how: How
    score: float


@dataclass(frozen=True)
class Photos:
    """What came with a request, as far as it can still be compared. data: the photos' bytes by supplied image."""

    supplied: tuple[SuppliedImage, ...]
    data: dict[int, bytes]
    unreadable: tuple[str, ...]

    @classmethod
    def of(cls, ledger: Ledger, supplied: Sequence[SuppliedImage]) -> Photos:
        data, unreadable = {}, []
        for image in supplied:
            if image.place is None:
                continue
            try:
                content = (ledger.place / image.place).read_bytes()
                decode_image(content)
                data[image.id] = content
            except (OSError, ReadingError):
                unreadable.append(image.keyed)
        return cls(tuple(supplied), data, tuple(unreadable))

    @property
    def digests(self) -> dict[str, int]:
        """The images by sha256, as long as that is kept."""
        return {image.digest: image.id for image in self.supplied if image.digest}

    @property
    def hashes_only(self) -> int:
        return sum(image.place is None and image.digest is not None for image in self.supplied)


def waiting(ledger: Ledger) -> list[str]:
    """Requests whose images are to be looked for: in all sets, or in those that came since they last were."""
    with ledger.reading() as session:
        latest = session.scalar(select(func.max(ImageSet.indexed)))
        unseen = Request.located_at.is_(None) | (Request.located_at < latest if latest else False)
        query = select(Request.id).where(
            Request.state.in_(WAITING), or_(Request.state == State.received, unseen)
        )
        return list(session.scalars(query.order_by(Request.number)))


def locate(
    ledger: Ledger, names: Sequence[str], actor: str, progress: Progress | None = None
) -> Iterator[Located]:
    """Look for the images of these requests, and write down what is found; yields a request when it is written.

    Exact images and copies count as confirmed until a person rejects them; look-alikes count once a person confirms them.
    Raises `InputError` for unknown requests, those that are past it, and sets that are not indexed to their end.
    """
    with ledger.reading() as session:
        sets = finished_sets(session)
        if not sets:
            raise InputError("this ledger has no image set: efface requests set add NAME IMAGES")
        requests = {request.id: request for request in (request_named(session, name) for name in names)}
        if late := [one for one in requests.values() if State(one.state) not in LOCATABLE]:
            raise InputError(
                *(f"{one.id} is {one.state}: its images are no longer looked for" for one in late)
            )
    for number, id_ in enumerate(requests):
        if progress:
            progress("locating images", number, len(requests))
        yield _locate(ledger, id_, sets, actor, progress)
    if progress and requests:
        progress("locating images", len(requests), len(requests))


def _locate(
    ledger: Ledger, id_: str, sets: Sequence[ImageSet], actor: str, progress: Progress | None
) -> Located:
    began = datetime.now(UTC)
    with ledger.reading() as session:
        photos = Photos.of(ledger, session.get_one(Request, id_).supplied)
        hits = _best(hit for one in sets for hit in _hits(ledger, session, one, photos, progress))
        alike = look_alikes(ledger, session, sets, photos.data, set(hits), progress)
        hits = _best([*hits.values(), *(Hit(image, one, "look-alike", value) for value, image, one in alike)])
    with ledger.session() as session:
        request = session.get_one(Request, id_)
        if State(request.state) not in LOCATABLE:
            raise InputError(
                f"{id_} has become {request.state} meanwhile: its images are no longer looked for"
            )
        added = _write(session, request, hits)
        request.located_at = began
        _settle(session, request, photos, added, actor)
        counts = {how: sum(hit.how == how for hit in hits.values()) for how in RANKS}
        return Located(
            request=id_,
            state=State(request.state),
            exact=counts["exact"],
            copies=counts["copy"],
            look_alikes=counts["look-alike"],
            added=len(added),
            erased_before=_erased_before(session, hits),
            unreadable=list(photos.unreadable),
            hashes_only=photos.hashes_only,
        )


def _hits(
    ledger: Ledger, session: Session, image_set: ImageSet, photos: Photos, progress: Progress | None
) -> Iterator[Hit]:
    digests = photos.digests
    for some in _chunks(list(digests)):
        rows = select(SetImage.id, SetImage.digest).where(
            SetImage.set_id == image_set.id, SetImage.digest.in_(some)
        )
        for image, digest in session.execute(rows):
            yield Hit(image, digests[digest], "exact", 1.0)
    if not photos.data:
        return
    index, ids = copy_index(ledger, session, image_set, progress)
    prints = stacked(fingerprint(decode_image(data)) for data in photos.data.values())
    matches = index.query(prints, ledger.policy.locating.agreement, MOST_COPIES)
    supplied = list(photos.data)
    for query, entry, value in zip(matches.query, matches.entry, matches.agreement, strict=True):
        yield Hit(int(ids[entry]), supplied[query], "copy", float(value))


def _best(hits: Iterable[Hit]) -> dict[int, Hit]:
    """Of each image the surest hit."""
    best: dict[int, Hit] = {}
    for hit in hits:
        if hit.image not in best or _rank(hit) > _rank(best[hit.image]):
            best[hit.image] = hit
    return best


def _rank(hit: Hit | LocatedImage) -> tuple[int, float]:
    return RANKS.index(hit.how), hit.score


def _write(session: Session, request: Request, hits: dict[int, Hit]) -> list[LocatedImage]:
    """Write down what was found, and return what is new: what a person decided on stays as it is."""
    there = {located.image_id: located for located in request.located}
    added = []
    for hit in hits.values():
        located = there.get(hit.image)
        decision = "confirmed" if hit.how in CERTAIN else "open"
        if located is None:
            located = LocatedImage(
                image_id=hit.image,
                supplied_id=hit.supplied,
                how=hit.how,
                score=hit.score,
                decision=decision,
            )
            request.located.append(located)
            added.append(located)
        elif located.decided_by is None and _rank(hit) > _rank(located):
            located.how, located.score, located.supplied_id = hit.how, hit.score, hit.supplied
            located.decision = decision
    session.flush()
    return added


def _settle(
    session: Session, request: Request, photos: Photos, added: list[LocatedImage], actor: str
) -> None:
    """Bring the request into the state that follows, with the event."""
    state = State(request.state)
    for some in _chunks(added):
        events.append(
            session,
            "images-located",
            actor,
            request=request.id,
            images=[image.image.keyed for image in some],
            how=[image.how for image in some],
        )
    if added:
        move(session, request, State.located, actor)
    elif request.located:
        if state not in (State.located, State.approved):
            move(session, request, State.located, actor)
    elif not photos.data and not photos.digests:
        if state != State.needs_input:
            move(session, request, State.needs_input, actor, _nothing_to_go_by(photos))
    elif state != State.not_found:
        move(session, request, State.not_found, actor)


def _nothing_to_go_by(photos: Photos) -> str:
    if photos.unreadable:
        return f"{counted(len(photos.unreadable), 'photo')} came with it, and none of them can be read"
    return "no photo and no hash came with it, or they were erased"


def _erased_before(session: Session, hits: dict[int, Hit]) -> int:
    return sum(
        session.scalar(
            select(func.count(SetImage.id))
            .join(Erased, Erased.keyed == SetImage.keyed)
            .where(SetImage.id.in_(some))
        )
        or 0
        for some in _chunks(list(hits))
    )


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + IN_ONE_QUERY] for start in range(0, len(items), IN_ONE_QUERY))
