"""Settings: typed, documented, and strict. Unknown keys are refused with the nearest valid name.

A settings class is at once the section of a config file, the help text, and the entry in the
record. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from efface.documents import parse_yaml
from efface.errors import InputError
from efface.wording import shortened


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, no silent conversion of wrong types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, ser_json_inf_nan="strings"
    )

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = "settings") -> Self:
        """Validate `values`; on failure raise one `InputError` that names all faults."""
        what = f"{where} cannot be used"
        if odd := list(_no_unicode(values)):
            said = "the text is not UTF-8, so that no file could hold it; rename what it names"
            raise InputError(*(f"{place}: {said}" for place in odd), what=what)
        return validated(cls, values, what)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return self.model_dump(mode="json")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], what: str) -> Model:
    """`values` as an object of `model`; raises one `InputError` headed `what` that names all faults."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(*problems_of(error, model), what=what) from None


def _no_unicode(value: object, place: str = "") -> Iterator[str]:
    """Dotted keys of the texts in plain values that hold bytes which are no UTF-8."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            yield place
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _no_unicode(inner, f"{place}.{name}".strip("."))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _no_unicode(inner, f"{place}.{number}")


def problems_of(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """Each fault of a pydantic error as one sentence with its dotted key; model: where unknown keys may be."""
    problems = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"]) or (model.__name__ if model else "the value")
        if fault["type"] == "extra_forbidden":
            problems.append(
                unknown_name("setting", place, valid_keys(model, fault["loc"][:-1]) if model else ())
            )
        elif fault["type"] == "missing":
            problems.append(f"{place}: it is needed and was not given")
        elif fault["type"] == "value_error":
            # of settings that do not fit together no single one is at fault
            problems.append(
                f"{place}: {fault['ctx']['error']}" if fault["loc"] else str(fault["ctx"]["error"])
            )
        else:
            problems.append(f"{place}: {fault['msg']}, got {shortened(fault['input'])}")
    return problems


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """A sentence that refuses `name` and offers the nearest valid one.

    >>> unknown_name("setting", "method.alhpa", ["alpha", "norm"])
    "unknown setting 'method.alhpa'; did you mean 'alpha'? Valid: alpha, norm"
    """
    valid = sorted(valid)
    near = difflib.get_close_matches(name[-100:].rsplit(".", 1)[-1], valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} {shortened(name)}{hint} Valid: {', '.join(valid) or 'none'}"


def valid_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Field names of the settings class found at `place` inside `model`."""
    current: type[BaseModel] = model
    for part in place:
        field = current.model_fields.get(str(part))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        current = inner[0]
    return list(current.model_fields)


def with_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with `a.b=1` style overrides applied; the right side is read as YAML.

    >>> with_overrides({"method": {"name": "fine-tune"}}, ["method.steps=10"])
    {'method': {'name': 'fine-tune', 'steps': 10}}
    """
    merged = _copied(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise InputError(
                f"--set {shortened(override)}: write it as key=value, for example method.alpha=0.3"
            )
        section = merged
        for name in keys[:-1]:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise InputError(f"--set {shortened(override)}: '{name}' holds a value, not a section")
        section[keys[-1]] = parse_yaml(text, f"--set {shortened(override)}: the value")
    return merged


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in values.items()}
