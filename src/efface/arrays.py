"""Reading arrays of NumPy that somebody else may have written: numbers, from a file that ends, and no pickles."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from efface.documents import open_file
from efface.errors import InputError
from efface.wording import printable

Array = npt.NDArray[Any]

MOST_UNPACKED = 4 << 30
"""Bytes of one array of an archive: packed, it may be a thousand times smaller."""
REAL = "iuf"
"""Kinds of real numbers."""
DAMAGED = (
    OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, MemoryError, RecursionError,
    SyntaxError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What NumPy raises for files that are damaged or no arrays."""


def read_array(path: str | Path, what: str = "") -> Array:
    """The real numbers of a `.npy` file; raises `Absent` or `InputError`.

    what: what the file is, for the message.
    """
    with _reading(path, what, "a .npy file of numbers") as file:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise TypeError
    if array.dtype.kind not in REAL:
        raise InputError(
            f"{_named(path, what)} cannot be read: it holds {array.dtype.name} values, not real numbers"
        )
    return array


def read_arrays(path: str | Path, names: Collection[str] | None = None, what: str = "") -> dict[str, Array]:
    """The arrays of a `.npz` archive that are named and there; raises `Absent`, or `InputError` also for Python objects.

    names: all of them where it is None. what: what the file is, for the message.
    """
    with (
        _reading(path, what, "an archive of NumPy arrays (.npz)") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.zip.infolist()}
        wanted = [name for name in sizes if names is None or name in names]
        if any(sizes[name] > MOST_UNPACKED for name in wanted):
            raise MemoryError
        arrays = {name: archive[name] for name in wanted}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise TypeError
        return arrays


@contextmanager
def _reading(path: str | Path, what: str, kind: str) -> Iterator[Any]:
    with open_file(path, what) as file:
        try:
            yield file
        except DAMAGED:
            raise InputError(f"{_named(path, what)} cannot be read: it is not {kind}, or damaged") from None


def _named(path: str | Path, what: str) -> str:
    return f"{what} {printable(os.fspath(path))}".strip()
