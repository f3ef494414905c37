"""The index in which copies of a set's images are looked up: made from the ledger's fingerprints, kept beside it.

It holds thumbnails, as the fingerprints do. It is made anew when images were added or their fingerprints erased.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from efface.files import lock_held, private_files
from efface.images.copy_index import SEGMENT, CopyIndex
from efface.images.fingerprints import FINGERPRINT
from efface.images.threads import Progress
from efface.ledger.opening import Ledger
from efface.ledger.tables import ImageSet, SetImage
from efface.runs.erasing import put_in_place, remove_folder

if TYPE_CHECKING:
    from efface.images.fingerprints import Prints

IDS = "ids.npy"


def copy_index(
    ledger: Ledger, session: Session, image_set: ImageSet, progress: Progress | None = None
) -> tuple[CopyIndex, NDArray[np.int64]]:
    """The index of a set, and by entry the ids of its `SetImage`s. Both stay on disk and are mapped."""
    there = select(func.count(), func.max(SetImage.id)).where(
        SetImage.set_id == image_set.id, SetImage.fingerprint.is_not(None)
    )
    count, last = session.execute(there).one()
    folder = ledger.place / "indexes"
    made = folder / f"{image_set.id}-{count}-{last or 0}"
    with private_files():
        folder.mkdir(exist_ok=True)
        with lock_held(folder / f".{image_set.id}.lock", wait=True):
            if not (made / IDS).is_file():
                drop_indexes(ledger, image_set)
                _make(session, image_set, made, int(count), progress)
    return CopyIndex.open(made), np.load(made / IDS, mmap_mode="r", allow_pickle=False)


def drop_indexes(ledger: Ledger, image_set: ImageSet) -> None:
    """Overwrite and remove the indexes of a set: where its fingerprints were erased, nothing may hold them longer."""
    folder = ledger.place / "indexes"
    for old in (*folder.glob(f"{image_set.id}-*"), *folder.glob(f".{image_set.id}-*")):
        remove_folder(old)


def _make(session: Session, image_set: ImageSet, made: Path, count: int, progress: Progress | None) -> None:
    """Segment by segment, so that memory is bounded."""
    temporary = made.with_name(f".{made.name}.tmp")
    remove_folder(temporary)
    ids = [np.zeros(0, np.int64)]
    for number, (some, prints) in enumerate(_segments(session, image_set)):
        segment = CopyIndex()
        segment.add(prints)
        segment.save(temporary, number)
        ids.append(some)
        if progress:
            progress("indexing fingerprints", sum(map(len, ids)), count)
    temporary.mkdir(exist_ok=True)
    np.save(temporary / IDS, np.concatenate(ids), allow_pickle=False)
    put_in_place(temporary, made)


def _segments(session: Session, image_set: ImageSet) -> Iterator[tuple[NDArray[np.int64], Prints]]:
    last = 0
    while True:
        query = select(SetImage.id, SetImage.fingerprint).where(
            SetImage.set_id == image_set.id, SetImage.fingerprint.is_not(None), SetImage.id > last
        )
        rows = session.execute(query.order_by(SetImage.id).limit(SEGMENT)).all()
        if not rows:
            return
        last = rows[-1][0]
        yield (
            np.array([id_ for id_, _ in rows], np.int64),
            np.frombuffer(b"".join(data for _, data in rows if data), FINGERPRINT),
        )
