"""Lists of images for a run that carries requests out: what the model learnt, less what was erased; what to forget."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.files import private_files, write_text
from efface.images.fingerprints import FINGERPRINT
from efface.ledger.events import READ
from efface.ledger.fingerprints import copies_of_erased
from efface.ledger.models import ancestry
from efface.ledger.opening import Ledger
from efface.ledger.tables import Erased, ImageSet, ModelVersion, SetImage, SuppliedImage
from efface.wording import several

COLUMNS = ("path", "sha256", "label")
ALL, FORGET = "images.txt", "forget.txt"


def write_lists(
    ledger: Ledger, session: Session, version: ModelVersion, forget: Collection[str], folder: Path
) -> None:
    """Write `images.txt` and `forget.txt` into a folder, their owner's alone. forget: keyed ids.

    Images on the erased list, and copies of them, are in neither unless they are to be forgotten; nor are files that are
    gone, but for those to be forgotten, which are then looked for among supplied photos. Raises `InputError` where an image
    to be forgotten is nowhere.
    """
    rows: list[tuple[str, str, str]] = []
    to_forget: list[tuple[str, str, str]] = []
    missing: list[str] = []
    for image, place in _kept(ledger, session, version, forget):
        wanted = image.keyed in forget
        there = place if os.path.isfile(place) else _supplied(ledger, session, image) if wanted else None
        if there is not None:
            row = (there, image.digest, image.label or "")
            rows.append(row)
            if wanted:
                to_forget.append(row)
        elif wanted:
            missing.append(place)
    if missing:
        raise InputError(
            f"images to be forgotten are gone, and no supplied photo has the same bytes: {several(missing)}. Put them back"
        )
    with private_files():
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ALL, _text(rows))
    write_text(folder / FORGET, _text(to_forget))


def _kept(
    ledger: Ledger, session: Session, version: ModelVersion, forget: Collection[str]
) -> Iterator[tuple[SetImage, str]]:
    """What the version learnt and may learn again, or is to forget, each with where it lies."""
    listed = session.execute(select(Erased.keyed, Erased.masked)).all()
    gone = {keyed for keyed, _ in listed}
    masked = [codes for _, codes in listed if codes]
    sets = dict.fromkeys(one for version in reversed(ancestry(session, version)) for one in version.sets)
    for image_set in sets:
        root = _root(image_set)
        query = select(SetImage).where(SetImage.set_id == image_set.id).order_by(SetImage.id)
        for some in session.scalars(query.execution_options(yield_per=READ)).partitions(READ):
            copies = _copies(ledger, some, masked)
            for image in some:
                if image.keyed in forget or not (image.keyed in gone or image.id in copies or image.fault):
                    yield image, os.path.join(root, image.path)


def _copies(ledger: Ledger, some: Iterable[SetImage], masked: list[bytes]) -> set[int]:
    """Ids of the images that are copies of erased ones."""
    with_print = [(image.id, image.fingerprint) for image in some] if masked else []
    known = [(id_, data) for id_, data in with_print if data]
    prints = np.frombuffer(b"".join(data for _, data in known), FINGERPRINT)
    return {known[row][0] for row, _, _ in copies_of_erased(ledger.key, masked, prints)}


def _root(image_set: ImageSet) -> str:
    place = Path(image_set.place)
    if not place.is_absolute() or place.suffix.lower() in (".parquet", ".tar"):
        raise InputError(
            f"the set {image_set.name} ({image_set.place}) is no folder or list of files, and a run needs these; index its "
            "images as files"
        )
    return os.path.realpath(place if place.is_dir() else place.parent)


def _supplied(ledger: Ledger, session: Session, image: SetImage) -> str | None:
    """A supplied photo with the same bytes."""
    query = select(SuppliedImage.place).where(
        SuppliedImage.keyed == image.keyed, SuppliedImage.place.is_not(None)
    )
    place = session.scalars(query.limit(1)).first()
    return str(ledger.place / place) if place and (ledger.place / place).is_file() else None


def _text(rows: Iterable[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()
