"""Finding the file that a list names, as names are written on other machines.

A name is first taken as it stands. Then blanks around it and backslashes of Windows may be what differs, an older
encoding, or the form in which letters with marks are written: macOS writes ë as two characters (NFD), others as one (NFC).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence

from efface.files import no_such
from efface.wording import printable

WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""How a path begins that names a drive or another computer."""


MOST_COMPARED = 5


class Names:
    """Looks names up below folders, one after the other.

    folders: those of the list itself; in the last of them a name that is missing is compared with what is there.
    elsewhere: where else to look. within: files must lie below one of these, links followed; None: anywhere.
    """

    def __init__(
        self, folders: Sequence[str], elsewhere: str = "", within: Sequence[str] | None = None
    ) -> None:
        self.folders = folders
        self.elsewhere = elsewhere
        self.within = None if within is None else [os.path.realpath(folder) for folder in within]
        self._missing = 0
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """The path of the file that is meant; empty where there is none. A folder is no file."""
        paths = (self._at(folder, form)[0] for form in _forms(name) for folder in (*self.folders, ""))
        return next((path for path in paths if path), "")

    def why_not(self, name: str) -> str:
        """Why `find` finds no file of this name. Names are compared for the first of them alone, for that is slow."""
        problems = (self._at(folder, form)[1] for form in _forms(name) for folder in self.folders)
        if problem := next((problem for problem in problems if problem), ""):
            return problem
        if WINDOWS.match(name):
            return "is a path on a Windows machine; name files relative to the list, or to --images"
        self._missing += 1
        if self._missing > MOST_COMPARED:
            return "no such file or folder"
        return no_such(os.path.join(self.folders[-1], name.strip() or name))

    def _at(self, folder: str, form: str) -> tuple[str, str]:
        """(path, problem), both empty where there is nothing."""
        path = os.path.join(folder, form)
        try:
            if (
                not (exists := os.path.lexists(path))
                and not form.isascii()
                and (other := self._respelled(path))
            ):
                path, exists = other, True
            if not exists and self.within is None:
                return "", ""
            real = os.path.realpath(path)
        except ValueError:  # a NUL byte
            return "", "is not a file name"
        if self.within is not None and not any(
            os.path.commonpath([root, real]) == root for root in self.within
        ):
            return "", (
                f"leads outside the manifest's folder, to {printable(real)}; "
                "move the manifest, or name the image in a .txt list"
            )
        if exists and os.path.isdir(real):
            return "", "is a folder; a list names files"
        return (path, "") if exists and os.path.lexists(real) else ("", "")

    def _respelled(self, path: str) -> str:
        """The path of a file whose name is the same but for the form of its letters; empty if there is not just one."""
        place = os.sep if path.startswith(os.sep) else ""
        for part in path.split(os.sep):
            if os.path.lexists(exact := os.path.join(place, part)):
                place = exact
                continue
            there = self._names_in(place).get(unicodedata.normalize("NFC", part), [])
            if len(there) != 1:
                return ""
            place = os.path.join(place, there[0])
        return place

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for name in os.listdir(folder or os.curdir):
                    names.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            except OSError:
                pass
            self._listed[folder] = names
        return self._listed[folder]


def respelled(path: str) -> str:
    """`path`, or the one that is there and differs in the form of its letters alone."""
    if path.isascii() or os.path.lexists(path):
        return path
    return Names([""])._respelled(path) or path


def _forms(name: str) -> Iterator[str]:
    yield name
    plain = name.strip()
    if plain and plain != name:
        yield plain
    if "\\" in plain and not WINDOWS.match(plain):
        yield plain.replace("\\", "/")
    if any(
        "\udc80" <= letter <= "\udcff" for letter in plain
    ):  # no UTF-8: what spreadsheets write in Western Europe
        yield plain.encode("utf-8", "surrogateescape").decode("cp1252", "replace").replace("\\", "/")
