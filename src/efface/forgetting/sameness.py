"""What is odd about arrays `[models, examples]` that are to be compared: models or examples that stand there twice,
values that look like something else than logit-scaled confidences, and values that their precision does not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from efface.forgetting.arrays import Floats

STEPS = 16
"""Values within so many steps of an array's precision are told apart by rounding alone."""


def same_arrays(sides: Mapping[str, Floats]) -> list[str]:
    """A sentence for each side that holds the very models of `retrained`: nothing can be learnt from comparing them."""
    retrained = sides["retrained"]
    return [
        f"{name} and retrained are the same array: give the models of each side"
        for name, side in sides.items()
        if name != "retrained" and np.array_equal(side, retrained) and np.ptp(side)
    ]


def oddities(sides: Mapping[str, Floats]) -> list[str]:
    """A sentence for each thing that may be right and rarely is. sides: by name; models of `original` may repeat."""
    rows = {name: _distinct(side) for name, side in sides.items()}
    notes = [
        f"{name}: only {len(rows[name])} of {len(side)} models differ, the others repeat them; a score takes models to be "
        "independent, each of a seed of its own"
        for name, side in sides.items()
        if name != "original" and 0 < len(rows[name]) < _unsaturated(side)
    ]
    notes += [
        f"{shared} of the models stand on both sides, {one} and {other}"
        for one, other in combinations(sides, 2)
        if (shared := len(rows[one] & rows[other]))
    ]
    every = np.concatenate(list(sides.values()))
    columns = every.T[np.ptp(every, axis=0) > 0]
    if repeated := len(columns) - len(_distinct(columns)):
        notes.append(
            f"{repeated} of {every.shape[1]} examples have the values of another one in every model: the same images twice"
        )
    if every.min() >= 0 and every.max() <= 1:
        notes.append(
            "all values lie between 0 and 1, as probabilities do; the score takes logit-scaled confidences, "
            "log(p / (1 - p)), as efface.forgetting.confidence makes them"
        )
    elif every.max() <= 0:
        notes.append(
            "no value is above 0, as if these were logarithms of probabilities; the score takes logit-scaled confidences, "
            "log(p / (1 - p)), as efface.forgetting.confidence makes them"
        )
    return notes


def imprecise(sides: Mapping[str, Floats], kinds: Iterable[np.dtype[Any]]) -> tuple[int, ...]:
    """Places of examples whose values, of all sides, are equal or lie within 16 steps of the coarsest of these kinds."""
    every = np.concatenate(list(sides.values())).astype(np.float64)
    real = [kind for kind in kinds if kind.kind == "f" and kind.itemsize < 8] or [np.dtype(np.float64)]
    coarsest = min(real, key=lambda kind: kind.itemsize)
    step = np.spacing(np.abs(every).max(axis=0).astype(coarsest)).astype(np.float64)
    return tuple(np.flatnonzero(np.ptp(every, axis=0) <= STEPS * step).tolist())


def _distinct(values: Floats) -> set[bytes]:
    """The distinct rows that are not constant: where all values are cut off alike, models are equal by that."""
    return {row.tobytes() for row in np.ascontiguousarray(values) if np.ptp(row)}


def _unsaturated(values: Floats) -> int:
    return int((np.ptp(values, axis=1) > 0).sum())
