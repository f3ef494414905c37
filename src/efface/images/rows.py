"""Text and rows of lists and tables, as people and their programs hand them over.

Text is UTF-8 or UTF-16, with a byte-order mark or without; bytes that are neither become surrogates. A table has a heading
and cells between commas, semicolons, tabs or bars (with Excel's line `sep=;` or without), or is JSON: an array, an object
that holds one, or an object a line. Column names are read in lower case with `_` for blanks; what lies deeper in JSON
counts by the last part of its name.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from efface.documents import parse_json, read_bytes
from efface.errors import InputError
from efface.images.signatures import HEAD_BYTES, encoding_of, what_it_is
from efface.wording import did_you_mean, printable, several

MAX_LIST_BYTES = 1 << 28
JSON_SUFFIXES, TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".csv", ".tsv", ".tab")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\n')
SEPARATORS, NO_SEPARATOR = ",;\t|", "\x1f"
RECORDS = ("images", "files", "rows", "data", "items", "records")
"""Under these names an object in JSON holds the rows."""
NOT_ROWS = ("annotations", "categories", "licenses")
"""Lists that COCO has beside its rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: where it stands, its values by column, and what is wrong with it as a whole."""

    place: str
    values: dict[str, JsonValue]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """The first line of a table, and the text with it."""

    columns: list[str]
    separator: str
    text: str


def text_of(path: str | Path) -> str:
    """The text of a file; raises `InputError` where it is none, cannot be read, or is larger than 256 MiB."""
    name, data = printable(os.fspath(path)), read_bytes(path, MAX_LIST_BYTES, "the list")
    encoding = encoding_of(data)
    if encoding is None:
        kind = what_it_is(data[:HEAD_BYTES])
        raise InputError(f"{name} is no text{f' but {kind}' if kind else ''}; save the list as text or CSV")
    try:
        text = data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError:
        raise InputError(f"{name} is damaged: it is not valid {encoding.upper()}; save it as UTF-8") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    # lines of old Macs; where there are others too, a carriage return is part of a name
    return text if "\n" in text else text.replace("\r", "\n")


def lines_of(path: str | Path) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, without blanks around them, each with its number."""
    return [
        (number, line.strip()) for number, line in enumerate(text_of(path).split("\n"), 1) if line.strip()
    ]


def rows_of(path: Path, columns: Collection[str]) -> Iterator[Row]:
    """The rows of a table; raises `InputError` for a damaged file, or one that has none of `columns`."""
    text = text_of(path)
    if path.suffix.lower() in JSON_SUFFIXES:
        yield from json_rows(path, text, columns)
    elif (heading := heading_of(text, columns)) is None:
        raise no_column(path, text, columns)
    else:
        yield from table_rows(path, heading)


def heading_of(text: str, columns: Collection[str]) -> Heading | None:
    """The heading of a table that has one of these columns."""
    text = text.lstrip("\n")
    stated = SEPARATOR_LINE.match(text)
    if stated:
        text = text[stated.end() :]
    first = text.partition("\n")[0]
    found = []
    for separator in stated[1] if stated else SEPARATORS:
        names = [column_name(cell) for cell in cells_of(first, separator)]
        if any(is_column(name, columns) for name in names):
            found.append(Heading(names, separator if len(names) > 1 else NO_SEPARATOR, text))
    return max(found, key=lambda heading: len(heading.columns), default=None)


def table_rows(path: Path, heading: Heading) -> Iterator[Row]:
    """The rows below a heading; blank ones are left out."""
    if twice := [name for name, count in Counter(heading.columns).items() if name and count > 1]:
        raise InputError(
            f"{printable(str(path))} has the column {several(twice)} twice; keep the one that is meant"
        )
    reader = csv.reader(io.StringIO(heading.text, newline=""), delimiter=heading.separator)
    try:
        rows = (cells for cells in reader if any(cell.strip() for cell in cells) or len(cells) == 1)
        next(rows)
        for number, cells in enumerate(rows, 1):
            too_many = any(cell.strip() for cell in cells[len(heading.columns) :])
            problem = "has more cells than the heading; names that hold the separator stand in quotes"
            values: dict[str, JsonValue] = dict(zip(heading.columns, cells, strict=False))
            yield Row(f"row {number}", values, problem if too_many else "")
    except csv.Error as error:
        place = f"line {reader.line_num}"
        raise InputError(f"{printable(str(path))} is not valid CSV near {place}: {error}") from None


def json_rows(path: Path, text: str, columns: Collection[str]) -> Iterator[Row]:
    """The objects of a JSON text, whole or one a line; a mere text is the value of the first of `columns`."""
    name, lines = printable(str(path)), text.split("\n")
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    by_line = path.suffix.lower() != ".json" or (len(filled) > 1 and filled[0][1].rstrip().endswith("}"))
    if by_line:
        placed: Iterable[tuple[str, JsonValue]] = (
            (f"line {number}", parse_json(line, f"{name} line {number}")) for number, line in filled
        )
    else:
        values = _records(parse_json(text, name), columns, name) if filled else []
        placed = ((f"entry {number}", value) for number, value in enumerate(values, 1))
    for place, value in placed:
        if isinstance(value, str):
            yield Row(place, {next(iter(columns)): value})
        elif isinstance(value, dict):
            yield Row(place, _flat(value))
        else:
            yield Row(place, {}, "must be a JSON object, or a text")


def column_name(text: str) -> str:
    """A column as it is compared: `" File-Name"` is `file_name`."""
    return re.sub(r"[\s-]+", "_", text.strip().casefold())


def is_column(name: str, columns: Collection[str]) -> bool:
    """Whether a column is one of these, of which `*_file_name` stands for all that end so."""
    return name in columns or any(one[0] == "*" and name.endswith(one[1:]) for one in columns)


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line; none where it cannot be split."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def no_column(path: Path, text: str, columns: Collection[str]) -> InputError:
    """The refusal of a table that has none of these columns."""
    first = text.lstrip("\n").partition("\n")[0]
    present = max((cells_of(first, separator) for separator in SEPARATORS), key=len)
    wanted = list(columns)
    return InputError(
        f"{printable(str(path))} needs a column {' or '.join(map(repr, wanted[:2]))}, "
        f"has {', '.join(printable(name[:80]) for name in present[:20]) or 'none'}{did_you_mean(wanted[0], present[:20])}"
    )


def _records(value: JsonValue, columns: Collection[str], name: str) -> Iterable[JsonValue]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and not any(
        is_column(column_name(key), columns) for key in value if key not in RECORDS
    ):
        lists = [key for key, inner in value.items() if isinstance(inner, list) and inner]
        if len(rivals := [key for key in lists if key not in NOT_ROWS]) > 1 and set(rivals) & set(RECORDS):
            raise InputError(
                f"{name} holds several lists ({several(rivals)}); keep the one that is meant, or put all in one"
            )
        return next((inner for key in RECORDS if isinstance(inner := value.get(key), list)), [value])
    return [value]


def _flat(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The values by the last part of their names, what lies higher up first."""
    flat: dict[str, JsonValue] = {}
    level = [value]
    while level:
        inner = [one for values in level for one in values.values() if isinstance(one, dict)]
        for values in level:
            for key, one in values.items():
                if not isinstance(one, dict):
                    flat.setdefault(column_name(key), one)
        level = inner
    return flat
