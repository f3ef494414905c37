"""Manifests (CSV, JSONL) and plain lists that name images.

A manifest has a column `path` (or `file_name`), relative to the manifest's folder, and may have `label` and
`sha256`. A row may not lead outside that folder, by `..`, an absolute path or a link: a manifest often
comes from somebody else. A list (`.txt`) has one path or one sha256 a line, and `#` comments; its author is
the user, so its paths may lead anywhere.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from efface.documents import parse_json
from efface.errors import InputError
from efface.images.listings import Candidate, FileLocator, Listing, did_you_mean, no_such
from efface.wording import printable

PATH_COLUMNS = ("path", "file_name")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def list_manifest(path: str | Path, also: str | None = None) -> Listing:
    """The rows of a CSV or JSONL manifest; names not found in its folder are looked for in `also`."""
    path = Path(path)
    roots = [os.path.realpath(path.parent)] + ([os.path.realpath(also)] if also else [])
    listing = Listing(root=roots[0])
    rows: dict[str, str] = {}
    for place, values in rows_of(path, PATH_COLUMNS):
        row = f"{printable(path.name)} {place}"
        name = next((values[column] for column in PATH_COLUMNS if values.get(column)), None)
        if not isinstance(name, str):
            present = ", ".join(printable(str(column)) for column in values) or "nothing"
            listing.problems.append(f"{row}: needs a 'path' or 'file_name', has {present}")
            continue
        real, problem = within(name, roots)
        label, sha256 = values.get("label"), values.get("sha256") or None
        if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
            problem = f"sha256 must be 64 hexadecimal digits, not {sha256!r}"
        if not problem and real in rows:
            problem = f"repeats the image of {rows[real]}"
        if problem:
            listing.problems.append(f"{row} ({printable(name)}): {problem}")
            continue
        rows[real] = place
        shown = os.path.join(path.parent, name) if real.startswith(roots[0]) else real
        listing.candidates.append(
            Candidate(
                shown,
                FileLocator(real),
                None if label is None or label == "" else str(label),
                sha256.lower() if sha256 else None,
                row,
            )
        )
    if not rows and not listing.problems:
        listing.problems.append(f"{printable(str(path))} has no rows")
    return listing


def list_text(path: str | Path, also: str | None = None) -> Listing:
    """The entries of a `.txt` list: paths relative to its folder, else to `also`; or sha256."""
    path = Path(path)
    listing = Listing(root=os.path.realpath(path.parent))
    for number, line in enumerate(_text(path).split("\n"), 1):
        entry = line.rstrip("\r")
        if not entry.strip() or entry.startswith("#"):
            continue
        row = f"{printable(path.name)} line {number}"
        if SHA256.fullmatch(entry.strip()):
            listing.digests.append((row, entry.strip().lower()))
            continue
        tried = [os.path.join(folder, entry) for folder in (path.parent, also) if folder is not None]
        found = next((name for name in tried if os.path.isfile(name)), None)
        if found is not None:
            listing.candidates.append(Candidate(found, FileLocator(os.path.realpath(found)), row=row))
        elif os.path.isdir(tried[0]):
            listing.problems.append(f"{row} ({printable(entry)}): is a folder; a list names files")
        else:
            listing.problems.append(f"{row} ({printable(entry)}): {no_such(tried[-1])}")
    if not (listing.candidates or listing.digests or listing.problems):
        listing.problems.append(f"{printable(str(path))} has no entries")
    return listing


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, values) of each row; raises `InputError` for a damaged file, or a CSV with none of `columns`."""
    text = _text(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            values = parse_json(line, f"{printable(str(path))} line {number}")
            if not isinstance(values, dict):
                raise InputError(f"{printable(str(path))} line {number} must be a JSON object")
            yield f"line {number}", values
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    present = list(reader.fieldnames or [])
    if not set(columns) & set(present):
        hint = did_you_mean(columns[0], present)
        raise InputError(
            f"{printable(str(path))} needs a column {' or '.join(map(repr, columns))}, "
            f"has {', '.join(printable(column) for column in present) or 'none'}{hint}"
        )
    try:
        for number, values in enumerate(reader, 1):
            yield f"row {number}", values
    except csv.Error as error:
        raise InputError(
            f"{printable(str(path))} is not valid CSV near line {reader.line_num}: {error}"
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read: {error.strerror}") from None


def within(name: str, roots: list[str]) -> tuple[str, str]:
    """(resolved path, problem) of a manifest's row."""
    outside = ""
    for root in roots:
        try:
            real = os.path.realpath(os.path.join(root, name))
        except ValueError:  # a NUL byte
            return "", "is not a file name"
        if os.path.commonpath([root, real]) != root:
            outside = outside or (
                f"leads outside the manifest's folder, to {printable(real)}; "
                "move the manifest, or name the image in a .txt list"
            )
        elif os.path.lexists(real):
            return real, ""
    return "", outside or no_such(os.path.join(roots[-1], name))
