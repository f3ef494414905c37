"""The two kinds of models, and the only place that asks of which kind a model is.

A `Kind` reads configs. What is done with a model's weights and images stands in its `operations`, which import torch and
are imported when they are wanted: `jobs.generator` and `jobs.classifier`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

from pydantic import BaseModel

from efface.classifiers import ClassifierSettings, is_classifier
from efface.classifiers.layouts import layout_at
from efface.errors import InputError
from efface.factories import is_held
from efface.generators.families import ModelSettings
from efface.generators.registry import FAMILIES, family_of, read_model
from efface.methods.registry import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.metrics.base import ModelKind
from efface.runs.config import JobConfig, Verb, written_out
from efface.runs.evaluate_config import ClassifierEvaluateConfig, EvaluateConfig
from efface.runs.train_config import ClassifierTrainConfig, TrainConfig
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.settings import Settings

if TYPE_CHECKING:
    from efface.jobs.operations import AnyOperations

NAMING = ("model", "original", "base", "like")
"""Sections of a config that name the model by which its kind is told."""


@dataclass(frozen=True)
class Kind:
    """A kind of models: what configs of its jobs look like, and where these are carried out."""

    name: ModelKind
    read_model: Callable[[Mapping[str, Any]], Settings]
    """What the section of a config says that names a model; raises `InputError`."""
    configs: Mapping[Verb, type[JobConfig]]

    @property
    def operations(self) -> AnyOperations:
        """What is done with models of this kind."""
        return cast("AnyOperations", import_module(f"efface.jobs.{self.name}").OPERATIONS)

    def config(self, verb: Verb, values: Mapping[str, Any]) -> JobConfig:
        """The config of a job; raises `InputError` naming all faults, settings of the other kind in one sentence."""
        values = written_out(values)
        own, (other,) = self.configs[verb], [kind for kind in KINDS.values() if kind is not self]
        foreign = _foreign(values, own, other.configs[verb])
        if foreign:
            what, them = ("a setting", "it") if len(foreign) == 1 else ("settings", "them")
            raise InputError(
                f"{', '.join(sorted(foreign))}: {what} of {other.name}s, and this model is a {self.name}; leave {them} out"
            )
        return own.from_values(values)


GENERATOR = Kind(
    "generator",
    read_model,
    {"unlearn": RunConfig, "train": TrainConfig, "evaluate": EvaluateConfig},
)
CLASSIFIER = Kind(
    "classifier",
    lambda section: ClassifierSettings.read(section, where="model"),
    {"unlearn": ClassifierRunConfig, "train": ClassifierTrainConfig, "evaluate": ClassifierEvaluateConfig},
)
KINDS: Mapping[ModelKind, Kind] = {kind.name: kind for kind in (GENERATOR, CLASSIFIER)}


@overload
def read_config(verb: Literal["unlearn"], values: Mapping[str, Any]) -> RunConfig | ClassifierRunConfig: ...
@overload
def read_config(verb: Verb, values: Mapping[str, Any]) -> JobConfig: ...
def read_config(verb: Verb, values: Mapping[str, Any]) -> JobConfig:
    """The config of a job for the kind of model that it names; raises `InputError` naming all faults."""
    return kind_of(values).config(verb, values)


def kind_of(values: Mapping[str, Any]) -> Kind:
    """The kind of the model that the plain values of a config name, or in a training ask for.

    What cannot be read is left to the generators' jobs, which name all faults of models and data together. Raises
    `InputError` where the method is one for classifiers only: the fault is then the model, not the method.
    """
    values = written_out(values)
    named = {name: section for name in NAMING if isinstance(section := values.get(name), Mapping)}
    model = next(iter(named.values()), {})
    if "like" in named and "base" in named and names_classifier(named["like"]) != names_classifier(model):
        raise InputError(
            "like and base are models of different kinds, a generator and a classifier: leave one out"
        )
    if values.get("classifier") is not None or names_classifier(model) or _described_as_classifier(model):
        return CLASSIFIER
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    if model and name in CLASSIFIER_METHODS and name not in GENERATOR_METHODS:
        try:
            layout_at(str(model.get("path")), *(_text(model, name) for name in ("revision", "entry", "base")))
        except InputError as error:
            raise InputError(f"the method {name} is for classifiers, but {error}") from None
    return GENERATOR


def names_classifier(model: Mapping[str, Any]) -> bool:
    """Whether the section of a config names a classifier; False also where nothing readable lies there."""
    if not isinstance(model.get("path"), str):
        return False
    by_code = model.get("network") is not None or is_held(model["path"])
    if by_code and (model.get("classes") is not None or not Path(model["path"]).is_dir()):
        return model.get("classes") is not None
    try:
        return is_classifier(model["path"], *(_text(model, name) for name in ("revision", "entry", "base")))
    except InputError:
        return False


def _described_as_classifier(model: Mapping[str, Any]) -> bool:
    """Whether a section that names no known generator has settings that only classifiers have."""
    own = set(ClassifierSettings.model_fields).difference(
        *(family.settings.model_fields for family in FAMILIES.values())
    )
    if not own & set(model):
        return False
    try:
        family_of(ModelSettings.read({k: v for k, v in model.items() if k in ModelSettings.model_fields}))
    except InputError:
        return True
    return False


def _text(model: Mapping[str, Any], name: str) -> str | None:
    value = model.get(name)
    return value if isinstance(value, str) else None


def _foreign(values: Mapping[str, Any], own: type[BaseModel], other: type[BaseModel]) -> list[str]:
    """The dotted keys of settings that only the other kind has."""
    foreign = []
    owned, others = _settings_of(own), _settings_of(other)
    for name, value in values.items():
        mine, theirs = _section(own, name), _section(other, name)
        if name not in owned:
            foreign += [name] if name in others else []
        elif isinstance(value, Mapping) and mine and theirs:
            foreign += [f"{name}.{inner}" for inner in _foreign(value, mine, theirs)]
    return foreign


def _settings_of(model: type[BaseModel]) -> set[str]:
    """The names of a section's settings; of a generator's those of all families."""
    families = FAMILIES.values() if model is ModelSettings else ()
    return set(model.model_fields).union(*(family.settings.model_fields for family in families))


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The settings class of a section; None for a plain value, or a section whose settings depend on a choice."""
    field = model.model_fields.get(name)
    types = (field.annotation, *get_args(field.annotation)) if field else ()
    sections = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sections[0] if sections and name != "method" else None
