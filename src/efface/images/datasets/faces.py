"""Faces and their ages: the competition's kind of data, from packed archives or from a table of image files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from efface.errors import Faults, InputError
from efface.images.datasets.ages import age_classes
from efface.images.datasets.packs import archives_lie_in, read_archives
from efface.images.datasets.source import Source, from_files, needed_path
from efface.images.items import Locator
from efface.images.listings import FileLocator
from efface.images.lists import PATH_COLUMNS, column_of
from efface.images.names import Names
from efface.images.rows import TABLE_SUFFIXES, rows_of
from efface.wording import counted, printable, shortened

ARCHIVE = "faces-age64"
PERSON_COLUMNS = ("person_id", "person")
TABLES = (*TABLE_SUFFIXES, ".jsonl")
MOST_FAULTS = 10
WHAT = (
    f"{ARCHIVE}-train.npz, or one table (CSV or JSONL) with the columns path and age, and person_id where persons are "
    "known"
)
STAND_IN = (
    "stand-in for the competition's faces, whose hidden set cannot be had: other people, other pictures, and other "
    "shares of the classes"
)
NO_PERSONS = (
    "persons are not known: the forget set is no set of persons as the competition's is, and holds all classes, not "
    "the two youngest alone"
)


def read_faces(path: str | None, side: int, channels: int, edges: Sequence[float] | None) -> Source:
    """Faces with classes of age. Raises one `InputError` for all that is wrong."""
    root = needed_path(path, "faces with ages", WHAT)
    if os.path.isdir(root) and archives_lie_in(root, ARCHIVE):
        packs = read_archives(root, ARCHIVE, ["age"])
        labels, classes = age_classes(packs.columns["age"], edges)
        pixels = from_files(packs.files, side, channels)
        notes = (STAND_IN, NO_PERSONS, _about(edges))
        parts = packs.parts if "test" in packs.parts else None
        return Source(packs.ids, labels, classes, pixels, parts, notes=notes)
    return _from_table(_table(root), side, channels, edges)


def has_persons(path: str) -> bool:
    """Whether the table of faces there says whom they show; False where there is none, or it cannot be read."""
    try:
        if os.path.isdir(path) and archives_lie_in(path, ARCHIVE):
            return False
        row = next(rows_of(_table(path), PATH_COLUMNS)).values
    except (InputError, StopIteration):
        return False
    return any(row.get(column) not in (None, "") for column in PERSON_COLUMNS)


def _table(root: str) -> Path:
    if os.path.isfile(root):
        return Path(root)
    found = (
        sorted(one for one in Path(root).glob("*") if one.suffix.lower() in TABLES)
        if os.path.isdir(root)
        else []
    )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(printable(one.name) for one in found)
        raise InputError(f"{printable(root)} holds several tables ({names}); give one of them as path")
    raise InputError(f"no faces with ages in {printable(root)}: it must hold {WHAT}")


def _from_table(table: Path, side: int, channels: int, edges: Sequence[float] | None) -> Source:
    root = os.path.realpath(table.parent)
    ids: list[str] = []
    files: list[Locator] = []
    ages: list[float] = []
    persons: list[str] = []
    problems: list[str] = []
    names = Names([root], within=[root])
    for read in rows_of(table, PATH_COLUMNS):
        row, where = read.values, f"{printable(table.name)} {read.place}"
        column = column_of([name for name in row if row[name]], PATH_COLUMNS)
        name = str(row[column]) if column else ""
        place = names.find(name) if name else ""
        problem = read.problem or ("" if place else names.why_not(name) if name else "it names no image")
        real = os.path.realpath(place)
        age = _age(row)
        if age is None:
            problem = problem or f"age is {shortened(row.get('age'))}; a number of years from 0 on is needed"
        if problem or age is None:
            problems.append(f"{where}: {problem}")
            continue
        ids.append(os.path.relpath(real, root))
        files.append(FileLocator(real))
        ages.append(age)
        persons.append(
            next((str(row[column]) for column in PERSON_COLUMNS if row.get(column) not in (None, "")), "")
        )
    with Faults(f"{printable(str(table))} cannot be used") as faults:
        for problem in problems[:MOST_FAULTS]:
            faults.add(problem)
        if len(problems) > MOST_FAULTS:
            faults.add(f"and {counted(len(problems) - MOST_FAULTS, 'more row')}")
        if not ids and not problems:
            faults.add("it has no rows")
        if len(set(ids)) < len(ids):
            faults.add(
                counted(
                    len(ids) - len(set(ids)),
                    "row repeats an image of another row; remove it",
                    "rows repeat an image of another row; remove them",
                )
            )
        if any(persons) and not all(persons):
            faults.add(
                f"{counted(persons.count(''), 'row has', 'rows have')} no person_id; give it in all rows or in none"
            )
    labels, classes = age_classes(ages, edges)
    known = tuple(persons) if any(persons) else None
    notes = (_about(edges),) if known else (NO_PERSONS, _about(edges))
    pixels = from_files(files, side, channels)
    return Source(tuple(ids), labels, classes, pixels, persons=known, notes=notes, root=root)


def _age(row: Mapping[str, JsonValue]) -> float | None:
    try:
        age = float(str(row.get("age", "")))
    except ValueError:
        return None
    return age if math.isfinite(age) and age >= 0 else None


def _about(edges: Sequence[float] | None) -> str:
    if edges is not None:
        return "classes of age have the edges that were given; the competition's are ten of equal width"
    return "classes of age are ten of equal width, as the competition's; the oldest hold few images"
