"""Which images are for training, for validation and for testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efface.errors import Faults, InputError
from efface.images.datasets.source import Part, Places, Source
from efface.randomness import numpy_draws

PARTS: tuple[Part, ...] = ("train", "validation", "test")


def split_places(
    source: Source, shares: dict[Part, float], seed: int, kept: Places, limit: int | None
) -> dict[Part, Places]:
    """Sorted places of each part; parts that come with the data stay as they are, the others are drawn.

    shares: of validation and test, among the images that are drawn from. kept: images that must be trained on.
    Persons, where they are known and no part comes with the data, are in one part alone. limit: draw at most so many
    training images. Raises one `InputError` where that cannot be.
    """
    given = np.array(source.parts if source.parts is not None else ["train"] * len(source), dtype="<U10")
    places = {part: np.flatnonzero(given == part) for part in PARTS}
    wanted: list[tuple[Part, float]] = [
        (part, shares[part]) for part in ("test", "validation") if not len(places[part]) and shares[part] > 0
    ]
    drawn = _drawn(source, places["train"], wanted, seed, kept)
    for part, chosen in drawn.items():
        places[part] = chosen
        places["train"] = np.setdiff1d(places["train"], chosen)
    with Faults("the data cannot be split") as faults:
        lost = len(np.setdiff1d(kept, places["train"]))
        if lost:
            faults.add(
                f"forget: {lost} of {len(kept)} images that are to be forgotten are no training images"
            )
        for part in ("train", "test"):
            if not len(places[part]):
                faults.add(f"{part}: no images are left; there are {len(source)} in all")
    if limit is not None:
        places["train"] = _limited(places["train"], kept, limit, seed)
    return places


def of_some_classes(source: Source, count: int | None, seed: int) -> Source:
    """The images of `count` classes alone, drawn with `seed`; raises `InputError` where there are fewer."""
    if count is None:
        return source
    if count > len(source.classes):
        raise InputError(f"classes: {count} are asked for, and there are {len(source.classes)}")
    chosen = np.sort(numpy_draws(seed, "classes").permutation(len(source.classes))[:count])
    return source.part(np.flatnonzero(np.isin(source.labels, chosen)), chosen)


def thinned(places: Places, limit: int | None, seed: int) -> Places:
    """At most `limit` of these places, drawn, sorted."""
    if limit is None or len(places) <= limit:
        return places
    return np.sort(numpy_draws(seed, "limit test").permutation(places)[:limit])


def nearest_count(sizes: Places, target: float) -> int:
    """How many of these groups, from the first on, come nearest to `target` images; at least one, if there is any."""
    return int(np.argmin(np.abs(np.cumsum(sizes) - target))) + 1 if len(sizes) else 0


def _drawn(
    source: Source, train: Places, wanted: Sequence[tuple[Part, float]], seed: int, kept: Places
) -> dict[Part, Places]:
    """Parts drawn from the training images. Whoever is on an image that must be kept stays as a whole."""
    draws = numpy_draws(seed, "split")
    persons = source.persons if source.parts is None else None
    groups = np.array(persons)[train] if persons is not None else train
    names, which = np.unique(groups, return_inverse=True)
    sizes = np.bincount(which, minlength=len(names))
    free = ~np.isin(np.arange(len(names)), which[np.isin(train, kept)])
    order = [group for group in draws.permutation(len(names)) if free[group]]
    found: dict[Part, Places] = {}
    for part, share in wanted:
        count = nearest_count(sizes[order], share * len(train))
        chosen, order = order[:count], order[count:]
        found[part] = train[np.isin(which, chosen)]
    return found


def _limited(train: Places, kept: Places, limit: int, seed: int) -> Places:
    if len(train) <= limit:
        return train
    if len(kept) >= limit:
        raise InputError(
            f"limit: {limit} training images do not hold the {len(kept)} that are to be forgotten and some to retain"
        )
    others = numpy_draws(seed, "limit").permutation(np.setdiff1d(train, kept))
    return np.sort(np.concatenate([kept, others[: limit - len(kept)]]))
