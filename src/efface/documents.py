"""JSON and YAML that somebody else may have written: plain values only, bounded, and every fault is one sentence.

What a document may hold is what JSON has: texts, whole numbers of 64 bits, finite numbers, yes and no, nothing, lists
and keys with values. YAML's references, tags and dates are not read, so a small file cannot become a large value.
Tables are written here too, so that no name in them becomes a formula; and what efface writes is made of `Described` parts.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue

from efface.errors import InputError
from efface.wording import printable, shortened

MOST_JSON = 64 << 20
MOST_YAML = 4 << 20
MOST_DEPTH = 64
"""Bytes of a file, and lists and sections within each other."""
PLAIN_TAGS = tuple(
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")
)


class Described(BaseModel):
    """A part of a document that efface writes: immutable, no unknown fields, no silent conversion, fields described."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def as_dict(self) -> dict[str, JsonValue]:
        """Plain JSON-ready values."""
        return self.model_dump(mode="json", by_alias=True)


class Absent(InputError):
    """There is no such file."""


@contextmanager
def open_file(path: str | Path, what: str = "") -> Iterator[BinaryIO]:
    """An open file while the block runs; raises `Absent`, or `InputError` for a folder, a pipe, a device.

    what: what the file is, for the message.
    """
    name = _named(path, what)
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    except FileNotFoundError as error:
        raise Absent(f"{name} cannot be read: {error.strerror}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{name} cannot be read: a path cannot hold a null byte") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{name} cannot be read: it is a pipe or a device, not a file")
        yield file


def read_bytes(path: str | Path, most: int, what: str = "") -> bytes:
    """All of a file of at most `most` bytes; raises `Absent`, or `InputError` for a larger one, a folder, a pipe, a device.

    what: what the file is, for the message.
    """
    with open_file(path, what) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise InputError(f"{_named(path, what)} cannot be read: {error.strerror or error}") from None
    if len(data) > most:
        raise InputError(f"{_named(path, what)} cannot be read: it is larger than {most >> 20} MiB")
    return data


def read_text(path: str | Path, what: str = "") -> str:
    """The text of a UTF-8 file of at most 64 MiB; raises `Absent` or `InputError`."""
    try:
        return read_bytes(path, MOST_JSON, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{_named(path, what)} cannot be read: it is not UTF-8 text (byte {error.start})"
        ) from None


def read_json(path: str | Path, what: str = "") -> JsonValue:
    """The value that a JSON file holds; raises `Absent` or `InputError`.

    what: what the file is, for the message.
    """
    return parse_json(read_bytes(path, MOST_JSON, what), _named(path, what))


def read_object(path: str | Path, what: str = "") -> dict[str, JsonValue]:
    """The keys and values that a JSON file holds, such as a model's `config.json`; raises `Absent` or `InputError`."""
    return _keyed(read_json(path, what), _named(path, what))


def read_yaml(path: str | Path, what: str = "config file") -> dict[str, JsonValue]:
    """The keys and values that a YAML file holds, none in an empty one; raises `Absent` or `InputError`."""
    where = _named(path, what)
    values = parse_yaml(read_bytes(path, MOST_YAML, what), where)
    return {} if values is None else _keyed(values, where)


def parse_json(data: str | bytes, where: str) -> JsonValue:
    """The value of a JSON text; raises `InputError` that begins with `where`.

    Infinity is read, because model libraries write it; no number that is not one.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value: JsonValue = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_constant)
        _check(value)
    except json.JSONDecodeError as error:
        reason = f"it is not JSON ({error.msg}, line {error.lineno}, column {error.colno})"
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 text (byte {error.start})"
    except RecursionError:
        reason = TOO_DEEP
    except _Refused as error:
        reason = str(error)
    except ValueError:  # Python reads no number of more than some thousand digits
        reason = NO_NUMBER
    else:
        return value
    raise InputError(f"{where} cannot be read: {reason}")


def parse_yaml(data: str | bytes, where: str) -> JsonValue:
    """The value of a YAML text; raises `InputError` that begins with `where`."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        _check_events(text)
        value: JsonValue = yaml.load(text, _Loader)
        _check(value)
    except yaml.MarkedYAMLError as error:
        place = f" on line {error.problem_mark.line + 1}" if error.problem_mark else ""
        reason = f"{shortened(error.problem or 'damaged')}{place}"
    except yaml.YAMLError:
        reason = "it holds control characters"
    except UnicodeError:
        reason = "it is not UTF-8 text"
    except _Refused as error:
        reason = str(error)
    except ValueError:
        reason = NO_NUMBER
    else:
        return value
    raise InputError(f"{where} is not valid YAML: {reason}")


def yaml_text(values: Mapping[str, Any]) -> str:
    """Plain values as YAML that `read_yaml` reads: equal parts are written out, each in its place."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Rows as CSV. A text that a spreadsheet would take for a formula gets an apostrophe; a number never does.

    >>> csv_text([["name", "value"], ["=1+1", -1.5]])
    "name,value\n'=1+1,-1.5\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row]
        for row in rows
    )
    return text.getvalue()


FORMULA = ("=", "+", "-", "@", "\t", "\r")
TOO_DEEP = f"it has more than {MOST_DEPTH} lists and sections within each other"
NO_NUMBER = "it holds a number that is none, or one of more than 64 bits"


class _Refused(Exception):
    """Well written, and not read all the same."""


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for, for ever."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _named(path: str | Path, what: str) -> str:
    return f"{what} {printable(os.fspath(path))}".strip()


def _keyed(value: JsonValue, where: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold keys and values, not a {type(value).__name__}")
    return value


def _unrepeated(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Refused(f"it has {shortened(twice)} twice in one place")
    return values


def _constant(name: str) -> float:
    if name == "NaN":
        raise _Refused("it holds NaN, which is no number")
    return float(name)


def _check(value: JsonValue) -> None:
    """Refuse values within each other too deep, and numbers that no later step could take."""
    level: list[JsonValue] = [value]
    for _ in range(MOST_DEPTH + 1):
        containers: list[list[JsonValue] | dict[str, JsonValue]] = []
        for part in level:
            if isinstance(part, dict | list):
                containers.append(part)
            elif isinstance(part, int):
                if not -(2**63) <= part < 2**64:
                    raise _Refused(NO_NUMBER)
            elif isinstance(part, float) and math.isnan(part):
                raise _Refused(NO_NUMBER)
            elif isinstance(part, str) and "\0" in part:
                raise _Refused("it holds a null character, which no name or place can have")
        if not containers:
            return
        level = [
            inner for part in containers for inner in (part.values() if isinstance(part, dict) else part)
        ]
    raise _Refused(TOO_DEEP)


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Of YAML what JSON has; `yes`, `0x10` and the like are read as YAML 1.1 has them."""

    yaml_constructors = {  # noqa: RUF012
        tag: constructor for tag, constructor in _Base.yaml_constructors.items() if tag in (None, *PLAIN_TAGS)
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN_TAGS]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
                shown = f" {shortened(key.value)}" if isinstance(key, yaml.ScalarNode) else ""
                raise _Refused(f"the key{shown} on line {line} is no text; write it in quotes")
            if key.value in names:
                raise _Refused(f"{shortened(key.value)} stands twice in one place, again on line {line}")
            names.add(key.value)
        values: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return values


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _check_events(text: str) -> None:
    """Refuse references, tags and depth before anything is built."""
    depth = 0
    for event in yaml.parse(text, _Base):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refused(f"line {line} has a reference (& or *); write the value out")
        if tag := getattr(event, "tag", None):
            raise _Refused(f"line {line} has a tag ({shortened(tag)}); only plain values are read")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise _Refused(TOO_DEEP)
