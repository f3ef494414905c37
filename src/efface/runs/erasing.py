"""What a run removes again: its working files, what a kill left of a half-written file, and nothing else.

Content is overwritten with zeros before it is removed. No link is followed, and no mount entered: files are opened by
name in an open folder, and only what is the same file as when it was listed is touched. A file that has another name
elsewhere (a hard link) loses its name here and keeps its content. An interrupted removal is finished by the next one. On
copy-on-write and flash storage old blocks may outlive the overwriting; only an encrypted disk helps there.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from efface.files import flush_folder

WORK = "work"
MOUNTS = Path("/proc/self/mountinfo")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file, a link, or whatever else has a name and is no folder. name: from the folder it was listed in."""

    name: str
    device: int
    inode: int
    names: int
    """How many names its content has, here and elsewhere."""

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> Entry:
        return cls(name, status.st_dev, status.st_ino, status.st_nlink)

    @property
    def content(self) -> tuple[int, int]:
        """What is the same for all names of one content."""
        return self.device, self.inode


def working_entries(run: Path) -> list[Entry]:
    """What is to be removed of a run, by name: all in `work`, and what a kill left half-written anywhere in it."""
    entries = [
        entry
        for entry in entries_below(run)
        if entry.name.split("/")[0] == WORK or is_half_written(entry.name)
    ]
    return sorted(entries, key=lambda entry: entry.name)


def working_files(run: Path) -> list[str]:
    """What is in `work`, relative to the run; of a link its own name, never what lies behind it."""
    return sorted(entry.name for entry in entries_below(run, WORK))


def living_on(entries: list[Entry]) -> list[str]:
    """Names whose content has a further name that is not among these entries, where it lives on."""
    here = Counter(entry.content for entry in entries)
    return [entry.name for entry in entries if entry.names > here[entry.content]]


def purge(run: Path) -> list[str]:
    """Remove all working files of a run; returns the names that are gone."""
    entries = working_entries(run)
    erase(run, entries)
    _drop_empty_folders(run, WORK, *_half_written_folders(run))
    left = {entry.name for entry in working_entries(run)}
    return [entry.name for entry in entries if entry.name not in left]


def sweep(run: Path) -> None:
    """Remove what a kill left half-written in a run that goes on, and nothing of what it goes on from."""
    erase(run, [entry for entry in working_entries(run) if is_half_written(entry.name)])
    _drop_empty_folders(run, *_half_written_folders(run))


def erase(top: Path, entries: list[Entry]) -> None:
    """Overwrite and remove these entries of the folder `top`, as far as they are still what was listed."""
    wanted = {entry.name: entry for entry in entries}
    for name, short, folder in _names(top, "."):
        entry = wanted.get(name)
        if entry is not None and Entry.of(name, os.lstat(short, dir_fd=folder)).content == entry.content:
            _overwrite(short, folder, entry)
            os.unlink(short, dir_fd=folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder that the run made, with all in it; nothing where there is none."""
    erase(folder.parent, list(entries_below(folder.parent, folder.name)))
    _drop_empty_folders(folder.parent, folder.name)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Let a folder that is written whole take the place of another; everything is flushed before."""
    for path in temporary.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
    remove_folder(folder)
    os.replace(temporary, folder)
    flush_folder(folder.parent)


def mounts_below(folder: Path) -> list[str]:
    """Places below a folder where another file system, or another folder, is mounted; relative to it."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    top = os.path.realpath(folder) + "/"
    places = (_unescaped(line.split(" ")[4]) for line in lines)
    return sorted(place.removeprefix(top) for place in places if place.startswith(top))


def is_half_written(name: str) -> bool:
    """Whether it, or a folder it lies in, has a name under which things are written before they are renamed."""
    return any(part.startswith(".") and part.endswith(".tmp") for part in name.split("/"))


def entries_below(top: Path, name: str = ".") -> Iterator[Entry]:
    """What lies in the folder `top`, or in `name` there; of a link or a file itself. Mounts are not entered."""
    for place, short, folder in _names(top, name):
        yield Entry.of(place, os.lstat(short, dir_fd=folder))


def _names(top: Path, name: str) -> Iterator[tuple[str, str, int]]:
    """What lies below `name` in the folder `top` and is no folder: its place from `top`, its name, the open folder.

    If `name` is a link or a file, that one is all there is. Mounts are not entered.
    """
    with _opened(top) as folder:
        if folder is None:
            return
        try:
            kind = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(kind.st_mode):
            yield name, name, folder
            return
        mounts = mounts_below(top)
        for place, folders, files, inside in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
            links = []
            for one in list(folders):
                status = os.lstat(one, dir_fd=inside)
                if stat.S_ISLNK(status.st_mode):
                    links.append(one)
                if status.st_dev != kind.st_dev or os.path.normpath(f"{place}/{one}") in mounts:
                    folders.remove(one)
            for one in (*files, *links):
                yield os.path.normpath(f"{place}/{one}"), one, inside


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """A folder, open; None where there is none. A link is not followed."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _overwrite(name: str, folder: int, entry: Entry) -> None:
    """Zeros over the content of `name` in the open `folder`, unless it is a link or has another name elsewhere."""
    if not stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode):
        return
    with open(os.open(name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder), "rb+") as file:
        status = os.fstat(file.fileno())
        if status.st_nlink > 1 or Entry.of(name, status).content != entry.content:
            return
        for start in range(0, status.st_size, BLOCK):
            file.write(bytes(min(BLOCK, status.st_size - start)))
        file.flush()
        os.fsync(file.fileno())


def _half_written_folders(run: Path) -> list[str]:
    return [
        path.relative_to(run).as_posix()
        for pattern in (".*.tmp", "path/.*.tmp")
        for path in run.glob(pattern)
    ]


def _drop_empty_folders(top: Path, *names: str) -> None:
    """Remove folders that hold nothing any more; others stay, with what is left in them."""
    with _opened(top) as folder:
        if folder is None:
            return
        for name in names:
            # it may be gone, a link, or hold what was not listed
            with suppress(OSError):
                for _, folders, _, inside in os.fwalk(
                    name, topdown=False, dir_fd=folder, follow_symlinks=False
                ):
                    for one in folders:
                        with suppress(OSError):
                            os.rmdir(one, dir_fd=inside)
                os.rmdir(name, dir_fd=folder)


def _unescaped(place: str) -> str:
    """A path of the system's table of mounts, in which blanks are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
