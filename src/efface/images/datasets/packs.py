"""Encoded images packed into NumPy archives: `bytes`, `offset`, `label`, `classes` and `source`, without pickles.

Image i of an archive is `bytes[offset[i]:offset[i+1]]`; `source` are names that are unique in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from efface.arrays import read_arrays
from efface.errors import Faults
from efface.images.datasets.source import Part
from efface.images.items import Locator
from efface.wording import printable

ARRAYS = ("bytes", "offset", "source")
KINDS = {
    "bytes": ("u", "bytes"), "offset": ("iu", "whole numbers"), "source": ("US", "texts"), "classes": ("US", "texts"),
    "label": ("iu", "whole numbers"), "age": ("iuf", "numbers"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """One encoded image in an archive that was read."""

    where: str
    content: npt.NDArray[np.uint8]
    first: int
    end: int

    def read_bytes(self) -> bytes:
        return self.content[self.first : self.end].tobytes()


@dataclass(frozen=True)
class Packs:
    """The images of a training archive and, if it is there, of a test archive behind it.

    columns: the further arrays that were asked for, one value an image.
    """

    ids: tuple[str, ...]
    files: tuple[Locator, ...]
    parts: tuple[Part, ...]
    columns: Mapping[str, npt.NDArray[Any]]
    classes: tuple[str, ...]


def archives_lie_in(path: str, name: str) -> bool:
    """Whether `NAME-train.npz` lies in a folder."""
    return os.path.isfile(os.path.join(path, f"{name}-train.npz"))


def read_archives(path: str, name: str, columns: Sequence[str]) -> Packs:
    """`NAME-train.npz` and, where they lie beside it, `NAME-test.npz` or `NAME-val.npz` in `path`, both as test images.

    Raises one `InputError` for all that is wrong with one.
    """
    packs: list[tuple[Part, dict[str, npt.NDArray[Any]], str]] = []
    endings: tuple[tuple[str, Part], ...] = (("train", "train"), ("test", "test"), ("val", "test"))
    for ending, part in endings:
        place = os.path.join(path, f"{name}-{ending}.npz")
        if part == "train" or os.path.isfile(place):
            packs.append((part, _arrays(place, columns), place))
    sources = [str(name) for _, arrays, _ in packs for name in arrays["source"]]
    owners: list[Part] = [part for part, arrays, _ in packs for _ in arrays["source"]]
    if len(set(sources)) < len(sources):
        sources = [f"{part}/{name}" for part, name in zip(owners, sources, strict=True)]
    files: list[Locator] = []
    for _, arrays, place in packs:
        offsets = arrays["offset"].tolist()
        files += [
            Packed(f"{place}#{row}", arrays["bytes"], a, b) for row, (a, b) in enumerate(pairwise(offsets))
        ]
    return Packs(
        tuple(sources),
        tuple(files),
        tuple(owners),
        {column: np.concatenate([arrays[column] for _, arrays, _ in packs]) for column in columns},
        tuple(str(name) for name in packs[0][1].get("classes", ())),
    )


def _arrays(place: str, columns: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    shown = printable(place)
    arrays = read_arrays(place, (*ARRAYS, *columns, "classes"))
    with Faults(f"{shown} cannot be used") as faults:
        for name in (*ARRAYS, *columns):
            if name not in arrays:
                faults.add(f"array '{name}' is missing")
        if faults:
            return {}
        for name, (kinds, form) in KINDS.items():
            if name in arrays and not (arrays[name].ndim == 1 and arrays[name].dtype.kind in kinds):
                faults.add(f"array '{name}' must be a row of {form}")
        if faults:
            return {}
        count, offset, end = len(arrays["source"]), arrays["offset"], len(arrays["bytes"])
        if (
            offset.shape != (count + 1,)
            or np.any(np.diff(offset) < 0)
            or not 0 <= offset[0] <= offset[-1] <= end
        ):
            faults.add(f"offset: {count + 1} places within 'bytes', none below the one before, are needed")
        for name in columns:
            if arrays[name].shape != (count,):
                faults.add(f"{name}: {arrays[name].shape} values for {count} images")
    return arrays
