"""Every file and every field of a finished run is changed, one at a time: `verify` says so.

A change differs, or the file is one that nothing binds and verify says that too. Whoever makes all digests anew is only
met by what record, results and files say of each other; how much that is, is counted and not promised.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from efface.files import sha256_of_file
from efface.runs.record import digest_of
from efface.runs.verification import verify

RECORD, SEAL = "record.json", "seal.json"
MAY_BE_ELSEWHERE = ("run.key", "config.yaml", "pictures.html")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    """The same content, but in a file outside of the run."""
    shutil.move(path, path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def lay_beside(path: Path) -> None:
    shutil.copy(path, path.with_name(f"another-{path.name}"))


TO_FILES: tuple[Callable[[Path], None], ...] = (
    flip, cut, link, lay_beside, Path.unlink, lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes() + b"x"),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that tests change and put back."""
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("tampered") / "run" / "out"))


def outcomes(run: Path) -> set[str]:
    return {check.outcome for check in verify(run, source_model=False)}


def test_every_change_of_a_file_is_said(run: Path, finished_run: Path, tally: Callable[[str], None]) -> None:
    assert outcomes(run) == {"matches"}
    unsaid, tried = [], 0
    names = [
        str(path.relative_to(run))
        for path in sorted(run.rglob("*"))
        if path.stat().st_size and path.is_file()
    ]
    for name in names:
        for change in TO_FILES:
            change(run / name)
            tried += 1
            told = outcomes(run)
            gone = not (run / name).exists() and name in MAY_BE_ELSEWHERE
            if not told & ({"differs", "not bound"} | ({"not checked"} if gone else set())):
                unsaid.append((name, change))
            shutil.rmtree(run.parent)
            shutil.copytree(finished_run, run)
    tally(f"changed files: {tried} changes of {len(names)} files; {tried - len(unsaid)} said by verify")
    assert not unsaid


def test_every_change_of_a_field_is_said(
    run: Path, finished_run: Path, long_form: bool, tally: Callable[[str], None]
) -> None:
    unsaid, tried, sealed_anew, noticed = [], 0, 0, 0
    for name in sorted(path.name for path in run.glob("*.json")):
        values = json.loads((run / name).read_text(encoding="utf-8"))
        for number, (where, changed) in enumerate(changes(values)):
            if not long_form and number % 10:
                continue
            tried += 1
            put(run, name, changed)
            if "differs" not in outcomes(run):
                unsaid.append((name, where))
            if name != SEAL:
                seal_anew(run, name)
                sealed_anew, noticed = sealed_anew + 1, noticed + ("differs" in outcomes(run))
            for file in (name, SEAL):
                shutil.copy(finished_run / file, run / file)
    tally(f"changed fields: {tried} fields of JSON files; {tried - len(unsaid)} said by verify")
    tally(
        f"changed fields with record and seal made anew: {noticed} of {sealed_anew} contradict something else"
    )
    assert not unsaid


def put(run: Path, name: str, values: Any) -> None:
    """Write a file as if it had always been so; a record gets the digest that fits it."""
    if name == RECORD:
        values = {**values, "digest": digest_of(values)}
    (run / name).write_text(json.dumps(values), encoding="utf-8")


def seal_anew(run: Path, name: str) -> None:
    """Make the seal fit a changed file."""
    seal = json.loads((run / SEAL).read_text(encoding="utf-8"))
    seal["files"][name] = sha256_of_file(run / name)
    (run / SEAL).write_text(json.dumps({**seal, "digest": digest_of(seal)}), encoding="utf-8")


def changes(values: Any) -> Iterator[tuple[str, Any]]:
    """The JSON value with another leaf changed each time, and where."""
    for path in leaves(values):
        changed = copy.deepcopy(values)
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = other(holder[path[-1]])
        yield "/".join(map(str, path)), changed


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    inner = [leaf for key, entry in entries for leaf in leaves(entry, (*path, key))]
    yield from inner or ([path] if path else [])


def other(value: Any) -> Any:
    """A value of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return value + "x" if isinstance(value, str) else "something"
