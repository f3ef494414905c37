"""The run folder: who may write into it, what in it is finished, and what must be purged.

In the run's folder:

config.yaml    what was asked, resolved            model/         the unlearned model
results.json   rows of figures (also .csv)         record.json    what was done, bound by digests
report.html    the page for people                 log.jsonl      every event
seal.json      the closed list of these, last      pictures.html  where it was asked for
manifests/     the image sets by keyed id          run.key        the key of those ids (keep it safe)
state.json     which parts are finished            work/          caches and checkpoints, purged at the end
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import JsonValue, ValidationError

from efface.documents import Absent, read_object, read_yaml, yaml_text
from efface.errors import InputError, RunRefused
from efface.files import lock_held, private_files, refuse_absent, replacing, write_json, write_text
from efface.runs.config import differences
from efface.runs.erasing import mounts_below, purge, remove_folder, sweep
from efface.runs.people import KEYED
from efface.runs.seal import finish_renewal
from efface.runs.state import PartType, RunPart, StartedPart
from efface.runs.temporary import erase_abandoned
from efface.wording import printable

KEY_BYTES = 32
LISTED_DIFFERENCES = 12
LISTED_LINKS = 5

BEFORE_THE_FIRST_PART = ("log.jsonl", "state.json", "config.yaml", "run.key", ".lock")
"""What a run folder holds, beside working files, before a part is finished, in the order of removal."""


UNFINISHED_CLAIM = re.compile(r"\.lock|run\.key|config\.yaml|\.(run\.key|config\.yaml|probe)\.\d+\.tmp")
"""Names that a start leaves which was killed before the folder was a run."""


class RunFolder:
    """A run folder held by this process. Use it in a `with` block; the lock is released at its end.

    With `shared`, another process of the same run holds the lock: nothing is created or checked here. Folder and files
    are their owner's alone, whatever the umask. config: None takes a run that is there as it lies. locked: False where
    the file system keeps no locks.
    """

    def __init__(
        self, path: Path, config: Mapping[str, JsonValue] | None = None, shared: bool = False
    ) -> None:
        self.path = Path(path)
        self._config = config
        self.shared = shared
        self.locked = True
        self._held = ExitStack()
        self._made, self._mode = False, 0o700

    def __enter__(self) -> Self:
        self._held.enter_context(private_files())
        try:
            if not self.shared:
                self._take()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

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
        return read_key(self.path)

    def finished(self, part: type[PartType]) -> PartType | None:
        """What `finish` stored of this part, or None while it is not finished."""
        facts = read_state(self.path).get(part.part)
        try:
            return None if facts is None else part.model_validate(facts)
        except ValidationError:
            raise _damaged(self.path) from None

    def done(self, part: type[PartType]) -> PartType:
        """What `finish` stored of a part that is finished."""
        facts = self.finished(part)
        assert facts is not None, f"the part {part.part} is not finished"
        return facts

    def finish(self, facts: RunPart) -> None:
        """Remember that a part is finished, with the facts that later parts need."""
        write_json(self.path / "state.json", {**read_state(self.path), facts.part: facts.as_dict()})

    def abandon(self) -> None:
        """Leave the folder as it was before the run, so that a corrected config may have it.

        Only a run of which nothing is finished is abandoned; later the folder stays with its config.
        """
        if self.shared or set(read_state(self.path)) - {StartedPart.part}:
            return
        purge(self.path)
        remove_folder(self.path / "manifests")
        for name in BEFORE_THE_FIRST_PART:
            (self.path / name).unlink(missing_ok=True)
        if self._made:
            self.path.rmdir()
        else:
            self.path.chmod(self._mode)

    def _take(self) -> None:
        if self._config is None:
            open_run(self.path)
        refuse_links(self.path)
        refuse_foreign(self.path)
        self._made = not self.path.exists()
        self.locked = hold(self.path, self._held)
        self._claim()

    def _claim(self) -> None:
        config_file = self.path / "config.yaml"
        finish_renewal(self.path)
        sweep(self.path)
        if config_file.exists():
            given = open_run(self.path)
            changed = differences(given, dict(self._config or given))
            if any(KEYED.search(line) for line in changed):
                raise RunRefused(
                    f"{self.path} was purged of names (efface purge --config), so it can no longer be continued or "
                    "compared with a command; choose another --out folder"
                )
            if changed:
                lines = "\n".join(f"  - {line}" for line in changed[:LISTED_DIFFERENCES])
                raise RunRefused(
                    f"{self.path} belongs to a run with another config; choose another --out folder, or give the "
                    f"same settings to continue it. What differs:\n{lines}"
                )
            read_key(self.path)
            return
        self._mode = stat.S_IMODE(self.path.stat().st_mode)
        self.path.chmod(0o700)
        with replacing(self.path / "run.key") as temporary:
            temporary.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")
        # the config comes last: a folder is a run from here on
        write_text(config_file, yaml_text(self._config or {}))


def hold(path: Path, held: ExitStack) -> bool:
    """Make the folder where it is missing, and hold its lock as long as `held`; False where locks are not kept.

    Temporary folders that killed processes of this user left behind are erased first. Raises `RunRefused` where the
    folder is or holds a link or a mount, another process holds it, or it cannot be written.
    """
    refuse_links(path)
    erase_abandoned()
    try:
        path.mkdir(parents=True, exist_ok=True)
        return held.enter_context(lock_held(path / ".lock"))
    except BlockingIOError:
        raise RunRefused(
            f"{path} is in use by another process; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise RunRefused(f"{path} cannot be written: {error.strerror}") from None


def refuse_foreign(path: Path) -> None:
    """Raise `RunRefused` if `path` exists and is neither empty nor a run."""
    refuse_bytes(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise RunRefused(f"{path} is a file; --out names a folder")
    inside = {entry.name for entry in path.iterdir() if not UNFINISHED_CLAIM.fullmatch(entry.name)}
    if inside and not (path / "config.yaml").exists():
        some = ", ".join(sorted(inside)[:3])
        raise RunRefused(f"{path} is not an efface run (it holds {some}); choose an empty or a new folder")


def is_run(path: Path) -> bool:
    """Whether a run lies in this folder, finished or not."""
    return (path / "run.key").exists() or (path / "record.json").exists()


def refuse_bytes(path: Path) -> None:
    """Raise `RunRefused` if a path is no UTF-8: libraries that write weights cannot write there."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise RunRefused(
            f"{printable(str(path))} is not UTF-8, and weights cannot be written there; choose another --out folder"
        ) from None


def refuse_taken(path: Path, *foreign: str) -> None:
    """Raise `RunRefused` if `path` is a file, a run, or holds what another command keeps there, by its names."""
    refuse_bytes(path)
    if path.exists() and not path.is_dir():
        raise RunRefused(f"{path} is a file; --out names a folder")
    if is_run(path):
        raise RunRefused(f"{path} is the folder of a run; choose another --out folder")
    if found := [name for name in foreign if (path / name).exists()]:
        raise RunRefused(f"{path} holds another kind of benchmark ({found[0]}/); choose another --out folder")


def open_run(path: Path) -> dict[str, JsonValue]:
    """The config of an existing run, as plain values; raises `InputError` if there is none."""
    config_file = Path(path) / "config.yaml"
    refuse_absent(path)
    if not config_file.is_file():
        raise InputError(f"{path} is not an efface run: it has no config.yaml")
    values = read_yaml(config_file)
    if not values:
        raise InputError(f"{config_file} is damaged: it holds no settings")
    return values


def read_key(path: Path) -> bytes:
    """The key of a run's keyed ids; raises `InputError` where it is gone or damaged."""
    return key_in(path / "run.key")


def key_in(place: Path) -> bytes:
    """The key in a file; raises `InputError` where it is gone or damaged."""
    try:
        key = bytes.fromhex(place.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise InputError(f"{place} is gone: without it nobody can tell which images are meant") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{place} cannot be read: {error}") from None
    if len(key) != KEY_BYTES:
        raise InputError(f"{place} is damaged: it holds {len(key)} bytes, not {KEY_BYTES}")
    return key


def read_state(path: Path) -> dict[str, JsonValue]:
    """Which parts of a run are finished."""
    try:
        return read_object(path / "state.json")
    except Absent:
        return {}
    except InputError:
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}/state.json is damaged; remove it to do the finished parts again")


def refuse_links(path: Path) -> None:
    """Raise `RunRefused` if the run folder is a link or holds one: a run writes, overwrites and removes in its own
    folder only.
    """
    if path.is_symlink():
        raise RunRefused(f"{path} is a link to {os.readlink(path)}; name that folder itself")
    links = [
        str(Path(folder, name).relative_to(path))
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
        if os.path.islink(os.path.join(folder, name))
    ]
    if links:
        lead = "is a link that leads" if len(links) == 1 else "are links that lead"
        raise RunRefused(
            f"{', '.join(sorted(links)[:LISTED_LINKS])} in {path} {lead} out of the run's folder; nothing was touched. "
            "Remove each link, and look after what lies behind it yourself, or choose another --out folder"
        )
    if mounts := mounts_below(path):
        raise RunRefused(
            f"{', '.join(mounts[:LISTED_LINKS])} in {path}: another place is mounted there, which is not the run's to "
            "write in or to remove; nothing was touched. Unmount it, or choose another --out folder"
        )
