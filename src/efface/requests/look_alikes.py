"""Images whose features are like those of a photo that came with a request: proposals, of which a person confirms some.

Features are computed for this one search and never kept. Those of faces are computed only where the policy allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.images.items import ImageItem, ReadingError
from efface.images.reading import decode
from efface.images.sources import open_images
from efface.images.threads import Progress, in_threads
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy
from efface.ledger.tables import ImageSet, SetImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from efface.metrics.extractors import FeatureExtractor

BATCH = 32
SIDE = 256
"""Pixels to which whole pictures are brought before an extractor sees them."""

Similar = tuple[float, int, int]
"""Similarity 0..1, the image of a set, the supplied image that it is like."""


def extractors_of(policy: Policy) -> list[str]:
    """The extractors that the policy has look-alikes proposed by."""
    faces = policy.face_embeddings
    return [name for name in (policy.locating.extractor, faces.extractor if faces.allowed else "") if name]


def look_alikes(
    ledger: Ledger,
    session: Session,
    sets: Sequence[ImageSet],
    photos: Mapping[int, bytes],
    but: set[int],
    progress: Progress | None = None,
) -> Iterator[Similar]:
    """The images that are most like each of `photos` (by supplied image), as many as the policy wants of each.

    but: images that are known to be meant already. Raises `InputError` for an extractor that cannot be opened and for a set
    that no longer lies where it did.
    """
    names = extractors_of(ledger.policy)
    if not names or not photos:
        return
    from efface.metrics.extractors import load_extractor

    for name in names:
        extractor = load_extractor(name)
        supplied = list(photos)
        wanted = _features(extractor, [decode(data) for data in photos.values()])
        best: dict[int, list[Similar]] = {one: [] for one in supplied}
        for image_set in sets:
            ids = _ids(session, image_set, but)
            items = [item for item in open_images(image_set.place) if item.id in ids]
            for start in range(0, len(items), BATCH):
                some = [
                    (item, pixels)
                    for item, pixels in zip(
                        items[start : start + BATCH],
                        in_threads(_decoded, items[start : start + BATCH]),
                        strict=True,
                    )
                    if pixels is not None
                ]
                if some:
                    alike = wanted @ _features(extractor, [pixels for _, pixels in some]).T
                    for one, row in zip(supplied, alike.tolist(), strict=True):
                        near = [
                            (value, ids[item.id], one) for value, (item, _) in zip(row, some, strict=True)
                        ]
                        best[one] = nlargest(ledger.policy.locating.most, best[one] + near)
                if progress:
                    progress("comparing features", start + len(some), len(items))
        yield from (
            (min(value, 1.0), image, one)
            for each in best.values()
            for value, image, one in each
            if value >= ledger.policy.locating.similarity
        )


def _ids(session: Session, image_set: ImageSet, but: set[int]) -> dict[str, int]:
    """The images of a set by sha256."""
    rows = select(SetImage.digest, SetImage.id).where(SetImage.set_id == image_set.id)
    return {digest: id_ for digest, id_ in session.execute(rows) if id_ not in but}


def _decoded(item: ImageItem) -> NDArray[np.uint8] | None:
    try:
        return decode(item.read_bytes())
    except ReadingError:
        return None


def _features(extractor: FeatureExtractor, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Features of pictures `[H, W, 3]`, each of length 1: `[N, dimension]`."""
    import torch
    from torch.nn.functional import interpolate, normalize

    def resized(picture: NDArray[np.uint8]) -> Tensor:
        image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float().div(255)
        return interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)

    with torch.inference_mode():
        return normalize(extractor.features(torch.cat([resized(one) for one in pictures])), dim=1)
