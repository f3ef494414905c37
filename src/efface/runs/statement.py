"""The statement of a run: `statement.json`, an in-toto Statement v1 on the model that it delivered.

Its subjects are the files of `model/` by sha256, its predicate the record and the digest of `seal.json`. It is plain JSON
and a function of record and seal, so that verification makes it anew. Signing is for other tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import JsonValue

from efface.documents import read_json
from efface.errors import InputError
from efface.files import sha256_of_file, write_json
from efface.runs.record import NAME as RECORD
from efface.runs.record import SCHEMA, parse_record, raw_record
from efface.runs.seal import NAME as SEAL
from efface.runs.seal import is_as_sealed

NAME: Final = "statement.json"
TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = f"https://efface/record/v{SCHEMA.rpartition('/')[2]}"
"""As the record's schema: another schema is another type."""


def write_statement(run: Path) -> Path:
    """Write `RUN/statement.json`; returns its path.

    Raises `InputError` where the run is not finished, made no model, or its record is not the sealed one.
    """
    path = run / NAME
    write_json(path, statement_of(run))
    return path


def statement_of(run: Path) -> dict[str, JsonValue]:
    """The statement of a run, as plain values; raises `InputError` as `write_statement`."""
    if not (run / SEAL).is_file():
        raise InputError(f"{run} is no finished run: there is no {SEAL}")
    values = raw_record(run)
    after = parse_record(run, values).model.after
    if after is None:
        raise InputError(f"{run} compared models and made none: there is nothing to state of one")
    if not is_as_sealed(run, RECORD):
        raise InputError(f"{RECORD} in {run} is not the one that was sealed: see `efface verify {run}`")
    return {
        "_type": TYPE,
        "subject": [_descriptor(name, digest) for name, digest in sorted(after.files.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"record": values, "seal": _descriptor(SEAL, sha256_of_file(run / SEAL))},
    }


def fault_of(run: Path) -> str | None:
    """What is wrong with the `statement.json` that lies in a run; None where it is the one that the run makes.

    Raises `InputError` where that cannot be told.
    """
    try:
        values = read_json(run / NAME)
    except InputError as error:
        return str(error)
    made = statement_of(run)
    if values == made:
        return None
    parts = values if isinstance(values, dict) else {}
    other = [name for name in made if parts.get(name) != made[name]] or sorted(set(parts) - set(made))
    return f"it is not the statement of this run as it is now ({', '.join(other)}); `efface statement` writes it anew"


def _descriptor(name: str, digest: str) -> dict[str, JsonValue]:
    return {"name": name, "digest": {"sha256": digest}}
