"""What a source offers before anything is read: a list of candidates, and what was passed over."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field

from efface.images.items import Fault, Locator
from efface.images.reading import MAX_BYTES, SUFFIXES
from efface.images.signatures import HEAD_BYTES
from efface.wording import printable


@dataclass(frozen=True, slots=True)
class FileLocator:
    """An image file at a resolved path."""

    where: str

    def read_bytes(self) -> bytes:
        if (status := self._status()).st_size > MAX_BYTES:
            raise OSError(f"oversized: {status.st_size:,} bytes, more than {MAX_BYTES:,}")
        return self._first(-1)

    def head(self) -> bytes:
        """The first bytes, by which a file is told. Raises OSError as `read_bytes`."""
        self._status()
        return self._first(HEAD_BYTES)

    def _status(self) -> os.stat_result:
        status = os.stat(self.where)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")  # reading a pipe would wait for ever
        return status

    def _first(self, count: int) -> bytes:
        with open(self.where, "rb") as file:
            return file.read(count)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry of a source: not yet read, perhaps not readable.

    `row` says where the entry stands ("forget.csv row 3"), `sha256` what its bytes must be.
    """

    path: str
    source: Locator
    label: str | None = None
    sha256: str | None = None
    row: str = ""

    def __str__(self) -> str:
        return f"{self.row} ({printable(self.path)})" if self.row else printable(self.path)


@dataclass(slots=True)
class Listing:
    """The candidates of one source, in order.

    `root` is the folder that names are relative to, where there is one. `digests` are entries of a list
    that name an image by sha256 only, with their rows. `problems` are entries that lead nowhere, `faults` files that
    cannot be read. `others` are files that no picture's name has, `omitted` counts what was left out for another reason.
    `notes` are sentences for the log.
    """

    candidates: list[Candidate] = field(default_factory=list)
    root: str | None = None
    omitted: Counter[str] = field(default_factory=Counter)
    digests: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    others: list[Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed_over(self) -> Counter[str]:
        """How many files are no candidates, by suffix or reason."""
        return self.omitted + Counter(suffix_of(os.path.basename(other.path)) for other in self.others)


def is_image_name(name: str) -> bool:
    return suffix_of(name) in SUFFIXES


def suffix_of(name: str) -> str:
    """The lower-case suffix that files are counted by; "(none)" without one, "(hidden)" for dot files."""
    if name.startswith("."):
        return "(hidden)"
    return os.path.splitext(name)[1].lower() or "(none)"
