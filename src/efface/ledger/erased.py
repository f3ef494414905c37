"""The erased list: images that were erased, and must not be trained on again, nor their copies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.images.fingerprints import PrintRows
from efface.images.items import ImageSet
from efface.images.threads import Progress
from efface.ledger.fingerprints import copies_of_erased, masked_codes
from efface.ledger.opening import Ledger
from efface.ledger.tables import Erased, Request, SetImage

READ = 2048
"""Images that are compared at a time."""


class ErasedImage(Described):
    """An image that shows what was erased."""

    keyed: str = Field(description="keyed id of the erased image")
    path: str = Field(description="where the image lies that shows it")
    how: Literal["exact", "copy"] = Field(description="exact: the same bytes; copy: the same picture")
    request: str | None = Field(description="our id of the request for which it was erased")

    def __str__(self) -> str:
        same = "is" if self.how == "exact" else "shows the same as"
        asked = f", erased for {self.request}" if self.request else ", erased"
        return f"{self.path} {same} {self.keyed[:16]}{asked}"


def erase_for(session: Session, key: bytes, images: Sequence[SetImage], request: Request | None) -> int:
    """Put images on the list; returns how many were not there. Their codes are kept there masked."""
    there = set(
        session.scalars(select(Erased.keyed).where(Erased.keyed.in_([image.keyed for image in images])))
    )
    new = {image.keyed: image for image in images if image.keyed not in there}
    now = datetime.now(UTC)
    for keyed, image in new.items():
        masked = masked_codes(key, image.fingerprint) if image.fingerprint else None
        session.add(Erased(keyed=keyed, masked=masked, request_id=request and request.id, added=now))
    session.flush()
    return len(new)


def erased_among(
    ledger: Ledger, images: ImageSet, prints: PrintRows | None = None, progress: Progress | None = None
) -> list[ErasedImage]:
    """Those of `images` that were erased, in their order. prints: their fingerprints, without which no copy is found."""
    with ledger.reading() as session:
        listed = session.execute(select(Erased.keyed, Erased.masked, Erased.request_id)).all()
    requests = {keyed: request for keyed, _, request in listed}
    if not requests:
        return []
    places = dict[int, ErasedImage]()
    for row, keyed in enumerate(images.keyed_ids(ledger.key)):
        if keyed in requests:
            places[row] = ErasedImage(
                keyed=keyed, path=images[row].path, how="exact", request=requests[keyed]
            )
    with_codes = [(keyed, masked) for keyed, masked, _ in listed if masked]
    for start in range(0, len(images) if prints is not None and with_codes else 0, READ):
        assert prints is not None
        some = np.asarray(prints.read(start, start + READ))
        for row, entry, _ in copies_of_erased(ledger.key, [masked for _, masked in with_codes], some):
            keyed = with_codes[entry][0]
            places.setdefault(
                start + row,
                ErasedImage(keyed=keyed, path=images[start + row].path, how="copy", request=requests[keyed]),
            )
        if progress:
            progress("comparing with the erased list", min(start + READ, len(images)), len(images))
    return [places[row] for row in sorted(places)]
