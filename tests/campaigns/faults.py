"""Faults at a chosen place: as it writes, renames or removes, a process is killed or its disk is full.

Python tells of every file that is opened for writing, renamed or removed (audit events); of `fsync`, which it does not
tell of, `os.fsync` does. An act counts if it changes what lies below the watched folder. Its place in the code is the
line of efface nearest to it, outside of `files.py`, through which nearly all go.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import efface

SOURCE = str(Path(efface.__file__).parent)
HELPERS = str(Path(SOURCE) / "files.py")
NEED_ROOM = ("write", "flush", "mkdir")
WRITES = os.O_CREAT | os.O_TRUNC | os.O_APPEND

Fault = Literal["none", "kill", "full"]


@dataclass(frozen=True)
class Act:
    """One thing done to the disk: what, with a file of which name, and by which line."""

    deed: str
    name: str
    place: str

    @property
    def kind(self) -> tuple[str, str]:
        """Acts of one kind do the same at the same place in the code."""
        return self.deed, self.place


class Watch:
    """Notes every act below `root`, and lets the `at`-th one (from 0) end in a fault.

    kill: the process ends before the act; of what it wrote since that file's last flush, half is on disk.
    full: the act, and every later one that needs room, meets a full disk.
    """

    def __init__(self, root: Path, fault: Fault = "none", at: int | None = None) -> None:
        self.root, self.fault, self.at = str(root), fault, at
        self.acts: list[Act] = []
        self.flushed: dict[int, int] = {}
        self.fsync: Callable[[int], None] = os.fsync

    def begin(self) -> None:
        sys.addaudithook(self._audit)
        os.fsync = self._flush

    def write(self, path: Path) -> None:
        """The acts so far, as JSON."""
        text = json.dumps([asdict(act) for act in self.acts])
        self.root = "\0"
        path.write_text(text, encoding="utf-8")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and (flags or 0) & WRITES:
                self._act("write", path)
        elif event == "os.mkdir":
            if not os.path.isdir(arguments[0]):
                self._act("mkdir", arguments[0])
        elif event in ("os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink"):
            self._act(event.removeprefix("os."), arguments[1 if event == "os.rename" else 0])
        elif event == "os.remove" and _exists(*arguments):
            self._act("remove", arguments[0])

    def _flush(self, handle: int) -> None:
        state = os.fstat(handle)
        if stat.S_ISREG(state.st_mode):
            before = self.flushed.get(state.st_ino, 0)
            self._act("flush", os.readlink(f"/proc/self/fd/{handle}"), (before + state.st_size) // 2)
            self.flushed[state.st_ino] = state.st_size
        self.fsync(handle)

    def _act(self, deed: str, path: Any, half: int | None = None) -> None:
        name = "" if isinstance(path, int) else os.fsdecode(path)
        if not name or (os.path.isabs(name) and not name.startswith(self.root)):
            return
        number = len(self.acts)
        self.acts.append(Act(deed, os.path.basename(name).replace(str(os.getpid()), "PID"), _place()))
        if self.fault == "kill" and number == self.at:
            self.fault = "none"
            if half is not None:
                os.truncate(name, half)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "full" and self.at is not None and number >= self.at and deed in NEED_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def _exists(path: Any, folder: int = -1) -> bool:
    try:
        os.lstat(path, dir_fd=None if folder == -1 else folder)
    except OSError:
        return False
    return True


def _place() -> str:
    """Where in efface the act is done: `file.py:line function`, innermost first outside of `files.py`."""
    frame = sys._getframe(2)
    while frame:
        file = frame.f_code.co_filename
        if file.startswith(SOURCE) and file != HELPERS:
            return f"{file[len(SOURCE) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside of efface"
