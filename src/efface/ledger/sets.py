"""Image sets in the ledger: indexed some images at a time, so that memory is bounded and a stopped start goes on.

Every image is read once: for its digest, and for the fingerprint by which its copies are found. A set only grows: what a
model learnt it has learnt, also where the file is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.errors import InputError
from efface.files import sha256_of_bytes
from efface.images.fingerprints import fingerprint
from efface.images.items import ReadingError
from efface.images.listings import Candidate, FileLocator
from efface.images.reading import decode_image
from efface.images.sources import list_source, nothing_in
from efface.images.threads import Progress, in_threads
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.tables import ImageSet, SetImage
from efface.wording import printable, shortened

BATCH = 256
"""Images that are read between two transactions."""
MOST_NAMED = 20


class SetFacts(Described):
    """What is told of an image set."""

    name: str = Field(description="its name")
    place: str = Field(description="where it lies")
    images: int = Field(description="images, each as often as it lies there")
    added: int = Field(description="those of this start")
    undecodable: int = Field(
        description="images that cannot be decoded: found by their bytes, their copies are not"
    )
    digest: str | None = Field(
        description="sha256 over the digests of its images, in order; none while it is not finished"
    )


@dataclass(frozen=True)
class Indexed:
    """An image that was read."""

    path: str
    label: str | None
    digest: str
    fingerprint: bytes | None
    fault: str | None


@dataclass(frozen=True)
class Unread:
    """An image that could not be read, and why."""

    path: str
    reason: str


def add_set(
    ledger: Ledger,
    name: str,
    source: str,
    actor: str,
    progress: Progress | None = None,
    skip_unreadable: bool = False,
) -> SetFacts:
    """Index the images of `source` as the set `name`, and go on where an earlier start stopped.

    Raises `InputError` for a name that another place has, a place without images, and files that cannot be read: the
    rest is kept, and the set is unfinished until they can, or are to be skipped.
    """
    listing = list_source(source)
    if listing.problems or not listing.candidates:
        raise InputError(
            *(listing.problems or [nothing_in(listing)]), what=f"the set {shortened(name)} cannot be added"
        )
    place = place_of(source)
    with ledger.session() as session:
        set_id = _begun(session, name, place).id
    unread: list[Unread] = []
    added = done = 0
    for start in range(0, len(listing.candidates), BATCH):
        some = listing.candidates[start : start + BATCH]
        named = {_path_of(candidate, listing.root): candidate for candidate in some}
        with ledger.reading() as session:
            known = _known(session, set_id, named)
        read = [(path, candidate) for path, candidate in named.items() if path not in known]
        outcomes = list(in_threads(_read, read))
        unread += [outcome for outcome in outcomes if isinstance(outcome, Unread)]
        images = [outcome for outcome in outcomes if isinstance(outcome, Indexed)]
        with ledger.session() as session:
            known = _known(session, set_id, named)  # another start may have been quicker
            rows = [
                SetImage(set_id=set_id, keyed=ledger.keyed(image.digest), **vars(image))
                for image in images
                if image.path not in known
            ]
            session.add_all(rows)
            if rows:
                session.get_one(ImageSet, set_id).indexed = None
            added += len(rows)
        done += len(some)
        if progress:
            progress("indexing images", done, len(listing.candidates))
    if unread and not skip_unreadable:
        raise InputError(
            *(f"{one.path}: {one.reason}" for one in unread[:MOST_NAMED]),
            what=f"{len(unread)} of {len(listing.candidates)} images cannot be read, the others are kept. Mend them and "
            "give the same command, or add --skip-unreadable",
        )
    with ledger.session() as session:
        image_set = set_named(session, name)
        if image_set.indexed is None:
            image_set.indexed, image_set.digest = datetime.now(UTC), digest_of_rows(session, set_id)
            events.append(
                session,
                "set-added",
                actor,
                set=set_id,
                digest=image_set.digest,
                images=_count(session, set_id),
            )
        return facts_of(session, image_set, added)


def set_named(session: Session, name: str) -> ImageSet:
    """The set of that name; raises `InputError` with those that there are."""
    image_set = session.scalars(select(ImageSet).where(ImageSet.name == name)).one_or_none()
    if image_set is None:
        there = session.scalars(select(ImageSet.name).order_by(ImageSet.name)).all()
        raise InputError(
            f"no image set {shortened(name)} in this ledger. There are: {', '.join(there) or 'none'}"
        )
    return image_set


def place_of(source: str) -> str:
    """A source as the ledger writes it down: a path from the root on."""
    return source if ":" in source.partition("/")[0] or source == "bundled" else str(Path(source).absolute())


def sets_at(session: Session, sources: Iterable[str]) -> Sequence[ImageSet]:
    """The sets that lie at these sources."""
    places = [place_of(source) for source in sources]
    return session.scalars(select(ImageSet).where(ImageSet.place.in_(places)).order_by(ImageSet.id)).all()


def finished_sets(session: Session) -> Sequence[ImageSet]:
    """All sets, in the order of their adding; raises `InputError` where one is not indexed to its end."""
    sets = session.scalars(select(ImageSet).order_by(ImageSet.id)).all()
    if stopped := [one for one in sets if one.indexed is None]:
        raise InputError(
            *(
                f"the set {one.name} is not indexed to its end: efface requests set add {one.name} {one.place}"
                for one in stopped
            )
        )
    return sets


def facts_of(session: Session, image_set: ImageSet, added: int = 0) -> SetFacts:
    """A set as it is printed. added: images of this start."""
    faulty = select(func.count()).where(SetImage.set_id == image_set.id, SetImage.fault.is_not(None))
    return SetFacts(
        name=image_set.name,
        place=image_set.place,
        images=_count(session, image_set.id),
        added=added,
        undecodable=session.scalar(faulty) or 0,
        digest=image_set.digest,
    )


def _begun(session: Session, name: str, place: str) -> ImageSet:
    image_set = session.scalars(select(ImageSet).where(ImageSet.name == name)).one_or_none()
    if image_set is None:
        image_set = ImageSet(name=name, place=place, added=datetime.now(UTC))
        session.add(image_set)
        session.flush()
    elif image_set.place != place:
        raise InputError(
            f"the set {name} lies in {printable(image_set.place)}; choose another name for {printable(place)}"
        )
    return image_set


def _known(session: Session, set_id: int, paths: Sequence[str] | dict[str, Candidate]) -> set[str]:
    query = select(SetImage.path).where(SetImage.set_id == set_id, SetImage.path.in_(list(paths)))
    return set(session.scalars(query))


def _path_of(candidate: Candidate, root: str | None) -> str:
    """The name of an image in its set: from the set's folder on, where it lies in one."""
    name = candidate.path if isinstance(candidate.source, FileLocator) else candidate.source.where
    path = os.path.abspath(name)
    if root and os.path.realpath(path).startswith(root + os.sep):
        path = os.path.relpath(os.path.realpath(path), root)
    elif not isinstance(candidate.source, FileLocator):
        path = name
    return printable(path)


def _read(named: tuple[str, Candidate]) -> Indexed | Unread:
    path, candidate = named
    try:
        data = candidate.source.read_bytes()
    except OSError as error:
        return Unread(path, error.strerror or str(error))
    digest = sha256_of_bytes(data)
    if candidate.sha256 not in (None, digest):
        return Unread(path, f"its sha256 is {digest[:12]}…, but {str(candidate.sha256)[:12]}… is stated")
    try:
        return Indexed(path, candidate.label, digest, fingerprint(decode_image(data)).tobytes(), None)
    except ReadingError as error:
        return Indexed(path, candidate.label, digest, None, error.reason)


def _count(session: Session, set_id: int) -> int:
    return session.scalar(select(func.count()).where(SetImage.set_id == set_id)) or 0


def digest_of_rows(session: Session, set_id: int) -> str:
    """Hex sha256 over the images in the order of their adding, as `images.ImageSet.digest`."""
    digest = hashlib.sha256()
    rows = select(SetImage.digest, SetImage.label).where(SetImage.set_id == set_id).order_by(SetImage.id)
    for image, label in session.execute(rows.execution_options(yield_per=events.READ)):
        digest.update(json.dumps([image, label]).encode() + b"\n")
    return digest.hexdigest()
