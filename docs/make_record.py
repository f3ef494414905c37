"""Writes the tables of `record.md` from the record's own descriptions: `python docs/make_record.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from efface.runs.config import RequestSettings
from efface.runs.record import Described, Record

PAGE = Path(__file__).parent / "record.md"
BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """The page with the tables between its marks made anew."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{rest.partition(END)[2]}"


def tables() -> str:
    """A table of the record's fields, and one for each part of it, in the order in which they appear."""
    return "\n".join(_table(model) for model in _parts(Record, {Record: None}))


def _table(model: type[BaseModel]) -> str:
    rows = [
        f"| `{field.alias or name}` | {field.description}{_link(field.annotation)} |"
        for name, field in model.model_fields.items()
    ]
    heading = (
        [] if model is Record else [f"### {model.__name__}", "", str(model.__doc__).partition("\n")[0], ""]
    )
    return "\n".join([*heading, "| field | meaning |", "|---|---|", *rows, ""])


def _parts(model: type[BaseModel], known: dict[type[BaseModel], None]) -> dict[type[BaseModel], None]:
    """The model and all models within it, each once."""
    inner = [part for field in model.model_fields.values() for part in _models(field.annotation)]
    known |= dict.fromkeys(inner)
    for part in inner:
        _parts(part, known)
    return known


def _link(annotation: object) -> str:
    names = [f"[{part.__name__}](#{part.__name__.lower()})" for part in _models(annotation)]
    return f" ({' or '.join(names)})" if names else ""


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The parts of a record in a field's type. Settings of methods and trainings have pages of their own."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Described | RequestSettings):
            yield kind
        elif kind is not annotation:
            yield from _models(kind)


if __name__ == "__main__":
    main()
