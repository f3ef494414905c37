"""The tables of `record.md`, from the descriptions of record and seal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel

from efface.documents import Described
from efface.runs.config import StatedRequest
from efface.runs.record import Record
from efface.runs.seal import Seal

WHOLE: dict[str, type[Described]] = {"fields": Record, "seal": Seal}


def table(name: str) -> str:
    """A table of the fields of record or seal, and one for each part of it, in the order in which they appear."""
    whole = WHOLE[name]
    return "\n" + "\n".join(_table(model) for model in _parts(whole, {whole: None})) + "\n"


def _table(model: type[BaseModel]) -> str:
    rows = [
        f"| `{field.alias or name}` | {field.description}{_link(field.annotation)} |"
        for name, field in model.model_fields.items()
    ]
    heading = (
        []
        if model in WHOLE.values()
        else [f"### {model.__name__}", "", str(model.__doc__).partition("\n")[0], ""]
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
        if isinstance(kind, type) and issubclass(kind, Described | StatedRequest):
            yield kind
        elif kind is not annotation:
            yield from _models(kind)
