"""Arrays from outside: real numbers from a file that ends, and one sentence for everything else."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from efface.arrays import read_array, read_arrays
from efface.documents import Absent
from efface.errors import InputError
from efface.forgetting.arrays import models_by_examples

VALUES = np.random.default_rng(0).normal(size=(8, 12))


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "values",
    [
        VALUES + 1j,
        np.zeros((8, 12), "M8[s]"),
        np.zeros((8, 12), "m8[s]"),
        np.zeros((8, 12), [("a", "f8")]),
        np.full((8, 12), "1.5"),
        np.full((8, 12), b"1.5"),
        np.ones((8, 12), bool),
        np.zeros((8, 12), "V8"),
    ],
    ids=lambda values: values.dtype.name,
)
def test_what_is_no_real_number_is_refused_from_a_file_and_from_python(
    values: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match="not real numbers"):
        read_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match="not a real number"):
        models_by_examples({"a": values})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        header(b"(" * 8999 + b"\n"),
        header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000), }\n"),
        header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }\n"),
        header(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + b"cos\nsystem\n(S'ls'\ntR.",
        b"cos\nsystem\n(S'ls'\ntR.",
        b"PK\x03\x04" + b"x" * 40,
    ],
    ids=range(8),
)
def test_a_damaged_array_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    for reader in (read_array, read_arrays):
        with pytest.raises(InputError, match=r"a\.npy cannot be read: it is not an?.* or damaged") as caught:
            reader(tmp_path / "a.npy")
        assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    began = time.monotonic()
    with pytest.raises(InputError, match="it is a pipe or a device"):
        read_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        read_array("/dev/zero")
    with pytest.raises(Absent):
        read_array(tmp_path / "b.npy")
    assert time.monotonic() - began < 5


def test_an_archive_gives_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=VALUES, y=np.zeros(100_000))
    assert set(read_arrays(tmp_path / "a.npz")) == {"x", "y"}
    assert np.array_equal(read_arrays(tmp_path / "a.npz", ("x", "z"))["x"], VALUES)
    with pytest.raises(InputError, match=r"not a \.npy file of numbers"):
        read_array(tmp_path / "a.npz")
    # an archive of a few bytes that unpacks to more than is taken
    monkeypatch.setattr("efface.arrays.MOST_UNPACKED", 1 << 16)
    with pytest.raises(InputError, match="or damaged"):
        read_arrays(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(InputError, match="or damaged"):
        read_arrays(tmp_path / "b.npz")


def test_whole_numbers_and_halves_are_real_numbers(tmp_path: Path) -> None:
    for kind in ("u1", "i8", "f2", "f4"):
        np.save(tmp_path / "a.npy", (VALUES * 9).astype(kind))
        assert read_array(tmp_path / "a.npy").dtype == kind
        assert models_by_examples({"a": (VALUES * 9).astype(kind)})[0].dtype == np.float64
