"""Lists that name images: a table with a column of paths, JSON, or a path or sha256 a line.

Rows are read as `rows` says, names are looked up as `names` says: relative to the list, then to the folder of the images,
then to where efface runs. A table (.csv, .tsv, .json, .jsonl) often comes from somebody else, so that none of its rows
may lead out of the first two, by `..`, an absolute path or a link. Other lists are the user's, and may lead anywhere.

In a list without a heading a line that names a file is that file, whatever else it looks like. Else it may stand in
quotes, have a label behind it, or be a line of sha256sum, and a line that begins with `#` is a comment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import JsonValue

from efface.images.listings import Candidate, FileLocator, Listing, is_image_name
from efface.images.names import Names
from efface.images.rows import (
    JSON_SUFFIXES,
    SEPARATOR_LINE,
    SEPARATORS,
    TABLE_SUFFIXES,
    Row,
    cells_of,
    heading_of,
    is_column,
    json_rows,
    no_column,
    table_rows,
    text_of,
)
from efface.wording import counted, printable, shortened

PATH_COLUMNS = (
    "path", "file_name", "filename", "file", "filepath", "file_path", "image_path", "img_path", "image_file", "image",
    "img", "image_name", "images", "files", "paths", "file_names", "*_file_name", "*_file_names",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "class_name", "category")
SHA_COLUMNS = ("sha256", "sha_256", "sha256sum")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
SUM = re.compile(r"(\\?)([0-9a-fA-F]{32,128})(?: [ *]|$)(.*)", re.DOTALL)
TAGGED_SUM = re.compile(r"(\\?)([A-Z][\w/-]*) ?\((.+)\) ?= ?([0-9a-fA-F]{32,128})", re.DOTALL)
MOST_SHOWN = 200
"""Characters of an entry in a message."""
OTHER_SUMS = {32: "md5sum", 40: "sha1sum", 56: "sha224sum", 96: "sha384sum", 128: "sha512sum"}
"""By their hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read an entry: the name of a file, and what is stated of it."""

    name: str
    label: str | None = None
    sha256: str | None = None


def list_entries(path: str | Path, also: str | None = None) -> Listing:
    """The entries of a list; names that are not in its folder are looked for in `also`. An image named twice counts once.

    Raises `InputError` for a damaged file, and for a table without a column that names images.
    """
    path = Path(path)
    own = [os.fspath(path.parent), *([also] if also else [])]
    foreign = path.suffix.lower() in (*TABLE_SUFFIXES, *JSON_SUFFIXES)
    names = Names(own, within=own if foreign else None)
    listing = Listing(root=os.path.realpath(path.parent))
    taken: dict[str, Candidate] = {}
    entries = repeated = 0
    for row, readings, refusal in _entries(path, names):
        entries += 1
        tried: list[Reading] = []
        candidate, problem = _candidate(row, readings, refusal, names, tried)
        if candidate is None:
            digest = next((one.sha256 for one in tried if one.sha256), None)
            if digest and not (problem and foreign):
                listing.digests.append((row, digest.lower()))
            else:
                name = f" ({printable(tried[0].name[:MOST_SHOWN])})" if tried else ""
                listing.problems.append(f"{row}{name}: {problem}")
            continue
        before = taken.setdefault(candidate.source.where, candidate)
        if before is candidate:
            listing.candidates.append(candidate)
        elif (before.label, before.sha256) == (candidate.label, candidate.sha256):
            repeated += 1
        else:
            listing.problems.append(
                f"{candidate}: repeats the image of {before.row} with another label or sha256"
            )
    if repeated:
        listing.notes.append(
            counted(
                repeated,
                "row of a list repeats an image of another row and counts once",
                "rows of a list repeat an image of another row and count once",
            )
        )
    if not entries:
        listing.problems.append(f"{printable(str(path))} has no entries")
    return listing


def column_of(values: Collection[str], columns: Sequence[str]) -> str | None:
    """The column of a table that is one of `columns`, the first of these that it has."""
    return next((name for one in columns for name in values if is_column(name, (one,))), None)


def _candidate(
    row: str, readings: Iterable[Reading], problem: str, names: Names, tried: list[Reading]
) -> tuple[Candidate | None, str]:
    """(the file that an entry names in the first way that leads to one, problem); adds to `tried` what was tried."""
    for reading in readings:
        tried.append(reading)
        if reading.sha256 and not SHA256.fullmatch(reading.sha256):
            return None, f"sha256 must be 64 hexadecimal digits, not {shortened(reading.sha256)}"
        if not problem and reading.name and (path := names.find(reading.name)):
            source = FileLocator(os.path.realpath(path))
            sha256 = reading.sha256.lower() if reading.sha256 else None
            return Candidate(path, source, reading.label or None, sha256, row), ""
    return None, problem or next((names.why_not(reading.name) for reading in tried if reading.name), "")


def _entries(path: Path, names: Names) -> Iterator[tuple[str, Iterable[Reading], str]]:
    """(row, ways to read it, problem) of each entry."""
    text, suffix = text_of(path), path.suffix.lower()
    wanted = (*PATH_COLUMNS, *SHA_COLUMNS)
    first = text.lstrip("\n").partition("\n")[0]
    if suffix in JSON_SUFFIXES:
        rows = json_rows(path, text, wanted)
    elif names.find(first) or (heading := heading_of(text, wanted)) is None:
        text = SEPARATOR_LINE.sub("", text.lstrip("\n"), count=1)
        first = text.partition("\n")[0]
        if suffix in TABLE_SUFFIXES and first.strip() and not _is_entry(first, names):
            raise no_column(path, text, wanted)
        yield from _lines(path, text, names)
        return
    else:
        rows = table_rows(path, heading)
    for row in rows:
        for readings, problem in _of_row(row):
            yield f"{printable(path.name)} {row.place}", readings, problem


def _of_row(row: Row) -> Iterator[tuple[list[Reading], str]]:
    """One entry for each file that a row of a table names."""
    columns = [name for name in row.values if is_column(name, PATH_COLUMNS) and row.values[name]]
    column = column_of(columns, PATH_COLUMNS)
    rivals = [name for name in columns if name.endswith(("_file_name", "_file_names"))]
    others = [name for name in columns if column and name not in rivals and _names_another(row, column, name)]
    label, sha256 = (_text(row.values, names) for names in (LABEL_COLUMNS, SHA_COLUMNS))
    if row.problem or (column is None and not sha256):
        present = ", ".join(printable(name[:80]) for name in list(row.values)[:20]) or "nothing"
        yield [], row.problem or f"needs a 'path' or 'file_name', has {present}"
    elif column is None:
        yield [Reading("", label, sha256)], ""
    elif (column in rivals and len(rivals) > 1) or others:
        among = ", ".join(map(printable, [column, *others] if others else rivals))
        yield (
            [],
            f"names several images ({among}); call the column that is meant 'path', and leave the others out",
        )
    else:
        value = row.values[column]
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name:
                yield [Reading(name, label, sha256)], ""
            else:
                yield [], f"'{printable(column)}' must be the name of a file"


def _names_another(row: Row, column: str, other: str) -> bool:
    """Whether two columns of a row name images by different names."""
    first, second = row.values[column], row.values[other]
    if not (isinstance(first, str) and isinstance(second, str) and is_image_name(second.strip())):
        return False
    return re.split(r"[/\\]", first.strip())[-1] != re.split(r"[/\\]", second.strip())[-1]


def _text(values: dict[str, JsonValue], columns: Sequence[str]) -> str | None:
    column = column_of(values, columns)
    value = None if column is None else values[column]
    return None if value is None or value == "" else str(value).strip()


def _lines(path: Path, text: str, names: Names) -> Iterator[tuple[str, Iterable[Reading], str]]:
    for number, line in enumerate(text.split("\n"), 1):
        plain, row = line.strip(), f"{printable(path.name)} line {number}"
        if not plain:
            continue
        if names.find(line):
            yield row, [Reading(line)], ""
        elif line.startswith("#"):
            if is_image_name(plain) and not (line[1:2].isspace() or names.find(line[1:])):
                yield row, [Reading(line)], "no such file; a comment has a blank behind the #"
        elif problem := _other_sum(plain):
            yield row, [Reading(line)], problem
        elif several := _several(plain):
            yield from ((row, [Reading(name)], "") for name in several)
        else:
            yield row, _readings(line, names), ""


def _several(line: str) -> list[str]:
    """The names of a line that holds nothing but names of images."""
    split = ([cell.strip() for cell in cells_of(line, separator)] for separator in SEPARATORS)
    return next((cells for cells in split if len(cells) > 1 and all(map(is_image_name, cells))), [])


def _is_entry(line: str, names: Names) -> bool:
    return any(
        one.sha256 or is_image_name(one.name.strip()) or names.find(one.name)
        for one in _readings(line, names)
    )


def _readings(line: str, names: Names) -> Iterator[Reading]:
    """The ways to read a line without a heading, the plainest first."""
    plain = line.strip()
    if SHA256.fullmatch(plain):
        yield Reading("", sha256=plain)
        return
    yield Reading(line)
    if plain.startswith("file://"):
        yield Reading(unquote(urlsplit(plain).path))
    if len(plain) > 2 and plain[0] == plain[-1] and plain[0] in "\"'":
        yield Reading(plain[1:-1])
    if (parts := SUM.fullmatch(plain)) and parts[3]:
        yield Reading(_unescaped(parts[1], parts[3]), sha256=parts[2])
    if parts := TAGGED_SUM.fullmatch(plain):
        yield Reading(_unescaped(parts[1], parts[3]), sha256=parts[4])
    for cells in (*(cells_of(plain, separator) for separator in SEPARATORS), plain.rsplit(None, 1)):
        behind = [cell.strip() for cell in cells[1:]]
        if behind and not any(is_image_name(cell) or names.find(cell) for cell in behind if cell):
            yield Reading(cells[0], behind[0] if len(behind) == 1 else None)


def _other_sum(line: str) -> str:
    """What is wrong with a line of another program than sha256sum."""
    tagged, plain = TAGGED_SUM.fullmatch(line), SUM.fullmatch(line)
    kind = OTHER_SUMS.get(len(plain[2])) if plain else None
    if tagged and tagged[2] != "SHA256":
        kind = tagged[2]
    return f"is a line of {kind}; give the output of sha256sum, or the names alone" if kind else ""


def _unescaped(mark: str, name: str) -> str:
    """The name in a line of sha256sum, which begins with a backslash where the name has line breaks or backslashes."""
    escapes = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    return re.sub(r"\\[nr\\]", lambda found: escapes[found[0]], name) if mark else name
