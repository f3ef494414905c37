"""Requests as a table of hashes: a row for each image, with columns `sha256`, and if wanted `sender`, `id`, `received`,
`regime`, `name`, `contact` and `language`. Rows of one sender and id are one request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import get_args

from efface.errors import Faults, InputError
from efface.images.lists import SHA256, SHA_COLUMNS
from efface.images.rows import Row, column_name, rows_of
from efface.ledger.policy import Language
from efface.ledger.requests import NewRequest
from efface.runs.config import RequestSettings
from efface.settings import unknown_name
from efface.wording import printable, shortened


@dataclass(frozen=True)
class Line:
    """A row of the table, without blanks around its cells."""

    sha256: str
    sender: str | None = None
    id: str | None = None
    received: str | None = None
    regime: str | None = None
    name: str | None = None
    contact: str | None = None
    language: str | None = None


COLUMNS = tuple(field.name for field in fields(Line))


def requests_of_hashes(path: Path, stated: NewRequest) -> list[NewRequest]:
    """The requests of a table. stated: what holds where a cell is empty. Raises one `InputError` for all that is wrong."""
    requests = dict[tuple[str, str | None], NewRequest]()
    with Faults(f"{printable(str(path))} cannot be taken in") as faults:
        for row in rows_of(path, (*COLUMNS, *SHA_COLUMNS)):
            where = f"{printable(path.name)} {row.place}"
            new = faults.tried(partial(_request, where, row, stated))
            if new is None:
                continue
            key = (new.sender, new.sender_id)
            before = requests.setdefault(key, new)
            if before is not new:
                if replace(before, digests=()) != replace(new, digests=()):
                    faults.add(
                        f"{where}: says something else of the request {new.sender_id} than an earlier row"
                    )
                requests[key] = replace(before, digests=[*before.digests, *new.digests])
        if not (requests or faults):
            faults.add("it has no rows")
    return list(requests.values())


def moment_of(text: str, where: str) -> datetime:
    """A stated time of receipt; a day alone begins at midnight UTC. Raises `InputError`."""
    stated = RequestSettings.read({"received": text.strip()}, where=where).received
    assert stated is not None
    return stated if isinstance(stated, datetime) else datetime.combine(stated, time(), UTC)


def language_of(text: str, where: str) -> Language:
    """A language in which letters are written; raises `InputError`."""
    for language in get_args(Language):
        if text.strip().lower() == language:
            return language  # type: ignore[no-any-return]
    raise InputError(f"{where}: {unknown_name('language', text, get_args(Language))}")


def _request(where: str, row: Row, stated: NewRequest) -> NewRequest:
    if row.problem:
        raise InputError(f"{where}: {row.problem}")
    line = Line(**dict(_cells(where, row)))
    if not SHA256.fullmatch(line.sha256):
        raise InputError(f"{where}: sha256 must be 64 hexadecimal digits, not {shortened(line.sha256)}")
    return replace(
        stated,
        format="csv",
        digests=[line.sha256.lower()],
        sender=line.sender or stated.sender,
        sender_id=line.id or stated.sender_id,
        received=moment_of(line.received, where) if line.received else stated.received,
        regime=line.regime or stated.regime,
        name=line.name or stated.name,
        contact=line.contact or stated.contact,
        language=language_of(line.language, where) if line.language else stated.language,
    )


def _cells(where: str, row: Row) -> Iterator[tuple[str, str]]:
    cells = {"sha256": ""}
    for column, value in row.values.items():
        name = column_name(column)
        name = "sha256" if name in SHA_COLUMNS else name
        if name not in COLUMNS:
            raise InputError(f"{where}: {unknown_name('column', column, COLUMNS)}")
        cells[name] = str(value or "").strip()
    yield from cells.items()
