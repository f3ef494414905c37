"""Files that survive a kill and are their owner's alone: digests, locks, writing under a temporary name, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.wording import did_you_mean, printable

DIGEST_BLOCK = 1 << 20
PROBE_BYTES = 1 << 20
NAMES_TO_COMPARE = 20_000
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that keeps no locks: NFS without its lock service, Lustre without -o flock."""
NO_LOCKS_NOTE = (
    "the file system of {} keeps no locks: see to it that no second process writes there while this one does"
)


def sha256_of_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(DIGEST_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex sha256 of `value` as canonical JSON (sorted keys, no spaces, UTF-8)."""
    return sha256_of_bytes(canonical_json(value).encode("utf-8", "backslashreplace"))


def canonical_json(value: Any) -> str:
    """`value` as JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it takes the place of `path` at once.

    The content is flushed to disk before the rename, so `path` is either the old file or the whole
    new one, whenever the process or the machine stops. On an error the temporary file is removed. The file is its
    owner's alone, whatever the umask; links are not followed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        with system_errors(path.parent):
            yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Make all that this process writes while the block runs its owner's alone, also what libraries write by themselves."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def lock_held(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of the file `path`, made where it is missing; yields False where its file system keeps no locks.

    Raises `BlockingIOError` where another process holds it, unless it is to `wait` for that one.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield _locked(handle, wait)
    finally:
        os.close(handle)


def _locked(handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


@contextmanager
def system_errors(folder: Path) -> Iterator[None]:
    """Make an error of a library that writes into `folder` the system's own, where that is its cause.

    torch and safetensors write by themselves, and where the disk is full they raise errors of their own that do
    not say so. After such an error a little is written here; the `OSError` that this meets is raised instead.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        probe = folder / f".probe.{os.getpid()}.tmp"
        try:
            with open(probe, "wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as cause:
            raise OSError(cause.errno, cause.strerror, str(folder)) from error
        finally:
            probe.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically.

    A lone surrogate (a byte of a file name that is no UTF-8) becomes `\\udcXX`, its escape in JSON.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, atomically. NaN and infinities are refused."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def no_such(path: str | Path) -> str:
    """ "no such file or folder", with the nearest existing name in that folder."""
    folder, name = os.path.split(os.fspath(path).rstrip("/"))
    while folder and not os.path.isdir(folder):
        folder, name = os.path.split(folder)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry in islice(entries, NAMES_TO_COMPARE)]
    except OSError:
        names = []
    return "no such file or folder" + did_you_mean(name, names)


def refuse_absent(path: str | Path, what: str = "") -> None:
    """Raise `InputError` where nothing lies at `path`. what: what was looked for there."""
    if not os.path.lexists(path):
        raise InputError(f"{what and f'no {what} at '}{printable(os.fspath(path))}: {no_such(path)}")


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
