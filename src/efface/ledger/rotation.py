"""Another key for a ledger: keyed ids and masked fingerprints are made anew, in one transaction.

Events keep the ids that they were written with, as the chain would break otherwise: the first event after a rotation says
that it was. The new key is written beside the old one before the transaction and takes its place after it; a kill between
is mended by the next opening, which knows the key by its digest in the database.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.ledger import events, keys
from efface.ledger.fingerprints import masked_anew
from efface.ledger.opening import Ledger
from efface.ledger.tables import Erased, SetImage, SuppliedImage


def rotate_key(ledger: Ledger, actor: str) -> int:
    """Give the ledger a new key; returns how many ids were made anew. Processes that hold the old one must open it again.

    Raises `InputError` where an erased image is in no set any more: its id cannot be made without its bytes.
    """
    new, place = keys.new_key(), ledger.key_file
    with ledger.session() as session:
        keys.write_key(keys.beside(place), new)
        count = _made_anew(session, ledger.key, new)
        events.head_row(session).key = keys.commitment(new)
        events.append(
            session, "key-rotated", actor, before=keys.commitment(ledger.key), after=keys.commitment(new)
        )
    keys.take_new(place)
    return count


def _made_anew(session: Session, old: bytes, new: bytes) -> int:
    by_old = dict[str, str]()
    for image in session.scalars(select(SetImage).execution_options(yield_per=events.READ)):
        fresh = by_old[image.keyed] = keys.keyed_id(new, image.digest)
        image.keyed = fresh
    count = len(by_old)
    for supplied in session.scalars(select(SuppliedImage)):
        # of what was erased the bytes are unknown; nothing is looked up by that id any more
        supplied.keyed = (
            keys.keyed_id(new, supplied.digest)
            if supplied.digest
            else by_old.get(supplied.keyed, keys.keyed_id(new, supplied.keyed))
        )
        count += 1
    lost = 0
    for erased in session.scalars(select(Erased)):
        lost += erased.keyed not in by_old
        erased.keyed = by_old.get(erased.keyed, erased.keyed)
        erased.masked = erased.masked and masked_anew(erased.masked, old, new)
        count += 1
    if lost:
        raise InputError(
            f"{lost} erased images are in no set of this ledger, and their ids cannot be made anew; nothing was changed"
        )
    return count
