"""Options that several verbs share, and options that are settings: those are made from the fields of the configs, so that
a setting is described once.

Later wins: the config file, then options, then `--set`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from efface.documents import read_yaml
from efface.jobs.kinds import KINDS
from efface.runs.config import Verb, written_out
from efface.settings import Settings, with_overrides
from efface.wording import printable_lines, sentence

Out = Annotated[Path | None, typer.Option(help="The run folder. The same command continues it.")]
Config = Annotated[Path | None, typer.Option("--config", help="A YAML file with any of the settings.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, for example method.alpha=0.3. See: efface list settings."),
]
METHOD = "How to unlearn. See: efface list methods."
Method = Annotated[str | None, typer.Option(help=METHOD)]
Seed = Annotated[int | None, typer.Option(help="Seed of every draw of this job.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


@dataclass(frozen=True)
class Setting:
    """An option that is a setting.

    key: its dotted key in the config. help: what the option says, where that is not what the field's description says.
    is_argument: whether it is given by its place, without a name. flag: its name, where Python has that word for itself.
    """

    key: str
    help: str = ""
    is_argument: bool = False
    flag: str = ""


def configured(
    verb_name: Verb, **settings: str | Setting
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb an option for each of `settings`, by name, `--config` and `--set`; it gets their plain config values.

    A setting is described as in the verb's config for generators, and as in that for classifiers where this differs.
    """
    configs = [kind.configs[verb_name] for kind in KINDS.values()]
    chosen = {
        name: setting if isinstance(setting, Setting) else Setting(setting)
        for name, setting in settings.items()
    }

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def run(config: Path | None, set_: list[str] | None, **given: Any) -> None:
            options = {setting.key: given.pop(name) for name, setting in chosen.items()}
            verb(collect(config, options, set_), **given)

        of_settings = [_parameter(name, setting, configs) for name, setting in chosen.items()]
        own = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for parameter in signature(verb, eval_str=True).parameters.values()
            if parameter.name != "values"
        ]
        general = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in (("config", Config), ("set_", Set))
        ]
        # arguments first, then what the verb itself takes but for --json, which comes last
        ordered = sorted([*own, *of_settings, *general], key=lambda parameter: parameter.name == "json_")
        run.__signature__ = Signature(ordered)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return run

    return decorate


def collect(
    config: Path | None, options: Mapping[str, Any], overrides: Iterable[str] | None
) -> dict[str, Any]:
    """Plain config values; `options` are dotted keys whose value None means that it was not given."""
    values = written_out(read_yaml(config)) if config else {}
    for name, value in options.items():
        if value is None or value is False or value == []:
            continue
        *sections, last = name.split(".")
        place = values
        for section in sections:
            inner = place.get(section)
            place[section] = inner if isinstance(inner, dict) else {}
            place = place[section]
        place[last] = value
    return with_overrides(written_out(values), overrides or [])


def say(text: object) -> None:
    """Print text for people on standard output; nothing in it can steer a terminal."""
    typer.echo(printable_lines(str(text)))


def show(value: Any) -> None:
    """Print JSON for machines on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _parameter(name: str, setting: Setting, configs: Iterable[type[Settings]]) -> Parameter:
    """The option as typer reads it from a function's signature."""
    fields = [field for config in configs if (field := _field(config, setting.key))]
    text = sentence(
        setting.help or "; of a classifier: ".join(dict.fromkeys(field.description or "" for field in fields))
    )
    if not fields and not setting.help:
        raise ValueError(f"--{name}: there is no setting {setting.key}")
    kinds = [kind for field in fields for kind in (field.annotation, *get_args(field.annotation))]
    if setting.is_argument:
        return _optional(name, str | None, typer.Argument(help=text))
    if bool in kinds:
        flag = typer.Option(f"--{name.replace('_', '-')}", help=text)
        return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, flag])
    if any(get_origin(kind) is tuple for kind in kinds):
        return _optional(
            name,
            list[str] | None,
            typer.Option(f"--{name.replace('_', '-')}", help=f"{text} May be repeated."),
        )
    kind = next((kind for kind in (int, float) if kind in kinds), str)
    flags = [setting.flag] if setting.flag else []
    return _optional(name, kind | None, typer.Option(*flags, help=text))


def _optional(name: str, kind: Any, option: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _field(config: type[Settings], key: str) -> FieldInfo | None:
    """The field behind a dotted key; None where this config has none."""
    name, _, rest = key.partition(".")
    field = config.model_fields.get(name)
    if field is None or not rest:
        return field
    kinds = (field.annotation, *get_args(field.annotation))
    sections = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings))
    return next((inner for section in sections if (inner := _field(section, rest))), None)
