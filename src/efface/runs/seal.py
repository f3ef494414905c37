"""The seal of a run: `seal.json`, written last. It is the closed list of the run's files, each with its digest.

Nothing that it names can be changed or taken away unnoticed, and nothing laid beside it. It commits to `run.key` without
telling it, so that the key can be kept elsewhere and shown later. What a later command of efface renews (the page, or
record and page after a purge) it notes here. Signatures and statements take the seal, and through it all the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from pydantic import Field, JsonValue

from efface.documents import Described
from efface.errors import InputError
from efface.files import flush_folder, sha256_of_bytes, sha256_of_file, write_json, write_text
from efface.runs.erasing import put_in_place, remove_folder, sweep
from efface.runs.record import digest_of, read_of_schema
from efface.settings import validated

SCHEMA: Final = "efface-seal/1"
NAME = "seal.json"
KEY, LOCK, WORK = "run.key", ".lock", "work/"
PENDING = "pending"
"""Where files that a later command writes anew lie, from when they are whole until they are in their places."""
NOT_SEALED = (NAME, KEY, LOCK)
"""Files of a run that its seal does not list: itself, the key to which it commits, and the empty file of the lock."""

LATER = {
    "*.sig": "a signature",
    "statement.json": "a statement of the run; in the run's own folder it is compared with it",
    "README.md": "a text for readers, written later",
    "delta.safetensors": "the difference between two models' weights, written later",
}
"""What may be laid into a run or its model after it was sealed, by pattern, and what it is."""

Command = Literal["efface report", "efface purge", "efface purge --config"]


class Renewal(Described):
    """Files that a later command wrote anew."""

    at: str = Field(description="when, UTC, ISO 8601")
    by: Command = Field(description="the command")
    version: str = Field(description="efface's version")
    files: list[str] = Field(description="the files, by name")


class Seal(Described):
    """The seal of a finished run."""

    schema_name: Literal["efface-seal/1"] = Field(
        SCHEMA, alias="schema", description=f"`{SCHEMA}`; a reader refuses any other"
    )
    at: str = Field(description="when the run was sealed, UTC, ISO 8601")
    version: str = Field(description="efface's version")
    key: str = Field(description="commitment to the key in `run.key`: its sha256")
    files: dict[str, str] = Field(
        description="digest of every file of the run, by name: record, page, pictures, log, config, results, manifests, "
        "models, state; not `run.key`, the empty `.lock`, and working files that were kept on request"
    )
    renewals: list[Renewal] = Field(description="what later commands wrote anew, oldest first")
    digest: str = Field("", description="digest of everything above")


@dataclass(frozen=True)
class Contents:
    """What lies in a run's folder, by name: files, and what is neither a file nor a folder, with what it is."""

    files: dict[str, Path] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


def contents(run: Path) -> Contents:
    """Everything in a run's folder. No link is followed; names have `/` between their parts."""
    found = Contents()
    for place, folders, files in os.walk(run, followlinks=False):
        for name in sorted((*folders, *files)):
            path = Path(place, name)
            mode, short = os.lstat(path).st_mode, path.relative_to(run).as_posix()
            if stat.S_ISREG(mode):
                found.files[short] = path
            elif stat.S_ISLNK(mode):
                found.odd[short] = "a link; a run holds none, and what it leads to is not part of it"
            elif not stat.S_ISDIR(mode):
                found.odd[short] = "neither a file nor a folder"
    return found


def leaves_the_run(name: str) -> bool:
    """Whether a listed name does not stay inside the run's folder, or is not written in the one way."""
    path = PurePosixPath(name)
    return not name or path.is_absolute() or ".." in path.parts or path.as_posix() != name or "\0" in name


def comes_later(name: str) -> str | None:
    """What a file is that may come after the seal; None where it may not."""
    folder, _, file = name.rpartition("/")
    known = (what for pattern, what in LATER.items() if fnmatch(file, pattern))
    return next(known, None) if folder in ("", "model") else None


def write_seal(run: Path, key: bytes, at: str) -> Seal:
    """Seal a run that is otherwise finished: list every file in it with its digest. key: that of its keyed ids."""
    files = {
        name: sha256_of_file(path)
        for name, path in sorted(contents(run).files.items())
        if name not in NOT_SEALED and not name.startswith(WORK)
    }
    return _write(run, Seal(at=at, version=version("efface"), key=commitment(key), files=files, renewals=[]))


def renew(run: Path, by: Command, at: str, texts: Mapping[str, str]) -> None:
    """Put files of the run anew, and a seal that says so; all others stay bound as they were. texts: by name."""
    stage_renewal(run, by, at, texts)
    finish_renewal(run)


def stage_renewal(run: Path, by: Command, at: str, texts: Mapping[str, str]) -> None:
    """Get files ready that are to be put anew, with their seal, in the folder `pending`.

    It gets its name when it is whole: a kill before changes nothing, and after it `finish_renewal` does the rest.
    """
    finish_renewal(run)
    seal, temporary = read_seal(run), run / f".{PENDING}.tmp"
    remove_folder(temporary)
    temporary.mkdir()
    for name, text in texts.items():
        write_text(temporary / name, text)
    renewal = Renewal(at=at, by=by, version=version("efface"), files=sorted(texts))
    files = {**seal.files, **{name: sha256_of_file(temporary / name) for name in texts}}
    _write(temporary, seal.model_copy(update={"files": files, "renewals": [*seal.renewals, renewal]}))
    put_in_place(temporary, run / PENDING)


def finish_renewal(run: Path) -> None:
    """Put what lies in `pending` in its place, the seal last, and overwrite what was there; nothing where there is none.

    Raises `InputError` where it is not what its seal says, and changes nothing then.
    """
    pending = run / PENDING
    if not pending.is_dir():
        return
    names = sorted(path.relative_to(pending).as_posix() for path in pending.rglob("*") if path.is_file())
    if names:
        named = read_seal(pending).files if NAME in names else {}
        others = [one for one in names if one != NAME and named.get(one) != sha256_of_file(pending / one)]
        if others:
            raise InputError(
                f"{pending} holds what its {NAME} does not name: {', '.join(others)}. Nothing was changed"
            )
    for name in sorted(names, key=lambda one: (one == NAME, one)):
        # under a name that is swept, so that its content is overwritten
        place = run / name
        before = place.with_name(f".{place.name}.before.tmp")
        if place.exists() and not before.exists():
            os.link(place, before)
        place.parent.mkdir(exist_ok=True)
        os.replace(pending / name, place)
        flush_folder(place.parent)
    remove_folder(pending)
    sweep(run)


def is_sealed(run: Path) -> bool:
    """Whether the run is finished: its seal is written last."""
    return (run / NAME).is_file()


def is_as_sealed(run: Path, name: str) -> bool:
    """Whether a file of a sealed run is the one that its seal names."""
    path = run / name
    return path.is_file() and not path.is_symlink() and read_seal(run).files.get(name) == sha256_of_file(path)


def read_seal(run: Path) -> Seal:
    """The seal of a run; raises `InputError` where it is missing, damaged or of another schema."""
    return parse_seal(run, raw_seal(run))


def raw_seal(run: Path) -> dict[str, JsonValue]:
    """The seal's plain values, for its digest; raises `InputError`."""
    return read_of_schema(run / NAME, SCHEMA, f"{run} holds no {NAME}: it is no run, or not finished")


def parse_seal(run: Path, values: dict[str, JsonValue]) -> Seal:
    """The seal that `raw_seal` read; raises `InputError` naming every field that the schema refuses."""
    return validated(Seal, values, f"{run / NAME} is damaged")


def commitment(key: bytes) -> str:
    """What a seal says of the key of a run."""
    return sha256_of_bytes(key)


def _write(run: Path, seal: Seal) -> Seal:
    sealed = seal.model_copy(update={"digest": digest_of(seal.as_dict())})
    write_json(run / NAME, sealed.as_dict())
    return sealed
