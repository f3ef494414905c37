"""A folder for the time of one piece of work: erased at its end, or by the next start where a kill left it behind."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from efface.files import lock_held
from efface.runs.erasing import remove_folder

PREFIX = "efface-"
OWNED = ".efface-temporary"
"""The file in such a folder whose lock its process holds: by it a folder is known, and known to be left behind."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this process alone, where temporary files lie; it is overwritten and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        # it gets its name once it is locked, or another start could take the folder for one left behind
        with lock_held(folder / "new"):
            os.rename(folder / "new", folder / OWNED)
            try:
                yield folder
            finally:
                # still locked, or another start could take it for one left behind and remove it at the same time
                remove_folder(folder)
    finally:
        remove_folder(folder)


def erase_abandoned() -> None:
    """Erase the temporary folders of this user whose process is gone, and no others."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            status, owned = os.lstat(folder), os.lstat(folder / OWNED)
            if not stat.S_ISDIR(status.st_mode) or not stat.S_ISREG(owned.st_mode):
                continue
            if {status.st_uid, owned.st_uid} != {os.getuid()}:
                continue
            # where the file system keeps no locks, nothing is known of the process
            with lock_held(folder / OWNED) as locked:
                if locked and os.path.lexists(folder / OWNED):
                    remove_folder(folder)
