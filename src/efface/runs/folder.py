"""The run folder: who may write into it, what in it is finished, and what must be purged.

In the run's folder:

config.yaml    what was asked, resolved            model/         the unlearned model
results.json   rows of figures (also .csv)         record.json    what was done, bound by digests
report.html    the page for people                 log.jsonl      every event
manifests/     the image sets by keyed id          run.key        the key of those ids (keep it safe)
state.json     which parts are finished            work/          caches and checkpoints, purged at the end
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from efface.errors import InputError, RunRefused
from efface.files import replacing, write_json, write_text
from efface.runs.config import differences
from efface.settings import read_yaml

SHOWN_DIFFERENCES = 12
STARTED = "started"
"""The part of the state that says when a run was started first; it is there before anything is finished."""

BEFORE_THE_FIRST_PART = ("log.jsonl", "state.json", "config.yaml", "run.key", ".lock")
"""What a run folder holds, beside working files, before a part is finished, in the order of removal."""


class RunFolder:
    """A run folder held by this process. Use it in a `with` block; the lock is released at its end.

    With `shared`, another process of the same run holds the lock: nothing is created or checked here.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], shared: bool = False) -> None:
        self.path = Path(path)
        self.config = config
        self.shared = shared
        self._lock: int | None = None
        self._made = False

    def __enter__(self) -> Self:
        if self.shared:
            return self
        refuse_foreign(self.path)
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunRefused(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise RunRefused(
                f"{self.path} is in use by another process; wait for it or choose another folder"
            ) from None
        try:
            self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @property
    def work(self) -> Path:
        """Working files: they hold forgotten content and are purged when the run is finished."""
        return self.path / "work"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def key(self) -> bytes:
        """The secret that turns image ids into the keyed ids of records and reports."""
        return bytes.fromhex((self.path / "run.key").read_text(encoding="ascii").strip())

    def finished(self, part: str) -> Any:
        """What `finish` stored for this part, or None while it is not finished."""
        return read_state(self.path).get(part)

    def finish(self, part: str, facts: Any) -> None:
        """Remember that a part is finished, with the facts that later parts need."""
        write_json(self.path / "state.json", {**read_state(self.path), part: facts})

    def abandon(self) -> None:
        """Leave the folder as it was before the run, so that a corrected config may have it.

        Only a run of which nothing is finished is abandoned; later the folder stays with its config.
        """
        if self.shared or set(read_state(self.path)) - {STARTED}:
            return
        purge(self.path)
        for name in BEFORE_THE_FIRST_PART:
            (self.path / name).unlink(missing_ok=True)
        if self._made:
            self.path.rmdir()

    def _claim(self) -> None:
        config_file = self.path / "config.yaml"
        for left_by_a_kill in self.path.glob(".*.tmp"):
            if left_by_a_kill.is_file():
                left_by_a_kill.unlink()
        if config_file.exists():
            changed = differences(open_run(self.path), dict(self.config))
            if changed:
                shown = "\n".join(f"  - {line}" for line in changed[:SHOWN_DIFFERENCES])
                raise RunRefused(
                    f"{self.path} belongs to a run with another config; choose another --out folder, or give the "
                    f"same settings to continue it. What differs:\n{shown}"
                )
            return
        key_file = self.path / "run.key"
        with replacing(key_file) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        # the config comes last: a folder is a run from here on
        write_text(config_file, yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True))

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def refuse_foreign(path: Path) -> None:
    """Raise `RunRefused` if `path` exists and is neither empty nor a run."""
    if not path.exists():
        return
    if not path.is_dir():
        raise RunRefused(f"{path} is a file; --out names a folder")
    inside = {entry.name for entry in path.iterdir() if not entry.match(".*.tmp")}
    unfinished_claim = {".lock", "run.key", "config.yaml"}
    if inside - unfinished_claim and "config.yaml" not in inside:
        some = ", ".join(sorted(inside)[:3])
        raise RunRefused(f"{path} is not an efface run (it holds {some}); choose an empty or a new folder")


def is_run(path: Path) -> bool:
    """Whether a run lies in this folder, finished or not."""
    return (path / "run.key").exists() or (path / "record.json").exists()


def refuse_taken(path: Path, *foreign: str) -> None:
    """Raise `RunRefused` if `path` is a file, a run, or holds what another command keeps there, by its names."""
    if path.exists() and not path.is_dir():
        raise RunRefused(f"{path} is a file; --out names a folder")
    if is_run(path):
        raise RunRefused(f"{path} is the folder of a run; choose another --out folder")
    if found := [name for name in foreign if (path / name).exists()]:
        raise RunRefused(f"{path} holds another kind of benchmark ({found[0]}/); choose another --out folder")


def open_run(path: Path) -> dict[str, Any]:
    """The config of an existing run, as plain values; raises `InputError` if there is none."""
    config_file = Path(path) / "config.yaml"
    if not config_file.is_file():
        raise InputError(f"{path} is not an efface run: it has no config.yaml")
    values = read_yaml(config_file)
    if not values:
        raise InputError(f"{config_file} is damaged: it holds no settings")
    return values


def read_state(path: Path) -> dict[str, Any]:
    """Which parts of a run are finished."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise InputError(f"{path}/state.json is damaged; remove it to do the finished parts again") from None
    return dict(state)


def purge(path: Path) -> list[str]:
    """Remove all working files of a run, overwritten with zeros first; returns what was removed.

    An interrupted purge is finished by the next one. On copy-on-write and flash storage old blocks may
    outlive the overwriting; only an encrypted disk helps there.
    """
    removed = []
    work = path / "work"
    for file in sorted(work.rglob("*")) if work.exists() else []:
        if file.is_file() and not file.is_symlink():
            _overwrite(file)
            removed.append(str(file.relative_to(path)))
            file.unlink()
    shutil.rmtree(work, ignore_errors=True)
    return removed


def working_files(path: Path) -> list[str]:
    """Working files that are still there, relative to the run."""
    work = path / "work"
    return sorted(str(f.relative_to(path)) for f in work.rglob("*") if f.is_file()) if work.exists() else []


def _overwrite(file: Path) -> None:
    size = file.stat().st_size
    block = bytes(1 << 20)
    with open(file, "rb+") as handle:
        for start in range(0, size, len(block)):
            handle.write(block[: min(len(block), size - start)])
        handle.flush()
        os.fsync(handle.fileno())
