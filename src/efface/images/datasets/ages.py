"""Classes of age, as the competition makes them: ten of equal width, or with edges that are given."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from efface.errors import InputError

CLASSES = 10
Ages = npt.NDArray[np.float64]


def age_classes(
    ages: npt.ArrayLike, edges: Sequence[float] | None, among: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The class of each age in years `[images]`, and the names of the classes.

    edges: youngest age of each class, the last class being open; None: ten classes of equal width from the youngest
    to the oldest age + 1 of `among` (default: `ages`), as in the competition's released loader (`surf.py`). Raises
    `InputError` for ages below the first edge.
    """
    ages = np.asarray(ages, dtype=np.float64)
    known = ages if among is None else np.asarray(among, dtype=np.float64)
    if edges is None:
        borders = np.linspace(known.min(), known.max() + 1, CLASSES + 1)
    else:
        borders = np.array([*edges, max(known.max(), edges[-1]) + 1])
    if ages.min() < borders[0]:
        raise InputError(
            f"age_edges: the youngest class begins at {borders[0]:g}, but there are images of age {ages.min():g}; "
            "let it begin there"
        )
    labels = np.digitize(ages, borders[1:-1]).astype(np.int64)
    return labels, _names(borders, whole=bool(np.all(known == np.floor(known))))


def _names(borders: Ages, whole: bool) -> tuple[str, ...]:
    """`12-23`, or with broken ages `11.6 to 23.2`."""
    pairs = list(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True))
    years = [(math.ceil(a), math.ceil(b) - 1) for a, b in pairs]
    if whole and all(a <= b for a, b in years):
        return tuple(f"{a}-{b}" for a, b in years)
    return tuple(f"{a:g} to {b:g}" for a, b in pairs)
