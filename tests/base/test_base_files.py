"""Files: digests with known values, and writing that leaves the old file or the whole new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from efface.files import (
    canonical_json,
    replacing,
    sha256_of_bytes,
    sha256_of_file,
    sha256_of_json,
    system_errors,
    write_json,
    write_text,
)

OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""FIPS 180-2, appendix B.1: the sha256 of "abc"."""


def test_digests_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of_bytes(b"abc") == sha256_of_file(tmp_path / "file") == OF_ABC


def test_a_file_larger_than_a_block_is_digested_whole(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 7)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of_file(tmp_path / "file") == sha256_of_bytes(data)


def test_canonical_json_is_the_same_for_equal_values() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert (
        sha256_of_json({"b": 1, "a": 2})
        == sha256_of_json({"a": 2, "b": 1})
        == sha256_of_bytes(b'{"a":2,"b":1}')
    )
    assert sha256_of_json([1, 2]) != sha256_of_json([2, 1])


def test_replacing_puts_the_new_content_in_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_replacing_keeps_the_old_file_on_an_error_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("the pen broke")

    with pytest.raises(RuntimeError, match="the pen broke"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_rename_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_files_hold_no_nan(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "a.json", {"x": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": 1.5\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def write_with_a_library(folder: Path) -> None:
    with system_errors(folder):
        raise RuntimeError("unexpected pos 64 vs 0")


def test_a_library_that_fails_for_its_own_reasons_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="unexpected pos"):
        write_with_a_library(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_library_that_fails_because_nothing_can_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_with_a_library(tmp_path)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert os.listdir(tmp_path) == []
