"""Which kind of model a config is about, looked at before anything else, and what the other kind's settings mean for it.

No torch is imported, except to look into a single file of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from efface.classifiers import is_classifier
from efface.classifiers.registry import layout_at
from efface.errors import Faults, InputError
from efface.methods.registry import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.runs.classifier_config import (
    ClassifierEvaluateConfig,
    ClassifierRunConfig,
    ClassifierTrainConfig,
)
from efface.runs.config import EvaluateConfig, RunConfig, TrainConfig, written_out
from efface.settings import Settings

NOTHING_RESTORED = "with_pictures: a classifier restores nothing, so there are no pictures to be shown"


def run_config(values: Mapping[str, Any]) -> RunConfig | ClassifierRunConfig:
    """The config of an unlearning run for the kind of model that it names; raises `InputError` naming all faults."""
    values = written_out(values)
    if not names_classifier(values.get("model")):
        _refuse_method_of_classifiers(values)
        return RunConfig.from_values(values)
    _refuse_foreign(values, ClassifierRunConfig, RunConfig)
    return ClassifierRunConfig.from_values(values)


def train_config(values: Mapping[str, Any]) -> TrainConfig | ClassifierTrainConfig:
    """The config of a training: of a classifier if one is asked for, or if the model to be like is one."""
    values = written_out(values)
    if values.get("classifier") is None and not names_classifier(values.get("like")):
        return TrainConfig.from_values(values)
    _refuse_foreign(values, ClassifierTrainConfig, TrainConfig)
    return ClassifierTrainConfig.from_values(values)


def evaluate_config(values: Mapping[str, Any]) -> EvaluateConfig | ClassifierEvaluateConfig:
    """The config of an evaluation for the kind of the original; raises `InputError` naming all faults."""
    values = written_out(values)
    if not names_classifier(values.get("original")):
        return EvaluateConfig.from_values(values)
    _refuse_foreign(values, ClassifierEvaluateConfig, EvaluateConfig)
    return ClassifierEvaluateConfig.from_values(values)


def names_classifier(model: Any) -> bool:
    """Whether the section of a config names a classifier; False also where nothing readable lies there.

    What cannot be read is left to the generators' job, which names all faults of models and data together.
    """
    if not isinstance(model, Mapping) or not isinstance(model.get("path"), str):
        return False
    try:
        return is_classifier(model["path"], _revision(model))
    except InputError:
        return False


def _refuse_method_of_classifiers(values: Mapping[str, Any]) -> None:
    """Raise `InputError` if the method is one for classifiers only: the fault is then the model, not the method."""
    model, method = values.get("model"), values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    if name in GENERATOR_METHODS or name not in CLASSIFIER_METHODS or not isinstance(model, Mapping):
        return
    try:
        layout_at(str(model.get("path")), _revision(model))
    except InputError as error:
        raise InputError(f"the method {name} is for classifiers, but {error}") from None


def _revision(model: Mapping[str, Any]) -> str | None:
    revision = model.get("revision")
    return revision if isinstance(revision, str) else None


def _refuse_foreign(values: Mapping[str, Any], own: type[Settings], other: type[Settings]) -> None:
    """Raise one `InputError` naming all settings that only the other kind of model has."""
    foreign = sorted(_foreign(values, own, other))
    with Faults("the config cannot be used") as faults:
        if "with_pictures" in foreign:
            foreign.remove("with_pictures")
            if values["with_pictures"]:
                faults.add(NOTHING_RESTORED)
        if foreign:
            what = "a setting" if len(foreign) == 1 else "settings"
            faults.add(
                f"{', '.join(foreign)}: {what} of generators, and this model is a classifier: leave out"
            )


def _foreign(values: Mapping[str, Any], own: type[BaseModel], other: type[BaseModel]) -> list[str]:
    found = []
    for name, value in values.items():
        mine, theirs = _section(own, name), _section(other, name)
        if name not in own.model_fields:
            found += [name] if name in other.model_fields else []
        elif isinstance(value, Mapping) and mine and theirs:
            found += [f"{name}.{inner}" for inner in _foreign(value, mine, theirs)]
    return found


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The settings class of a section; None for a plain value, or a section whose settings depend on a choice."""
    field = model.model_fields.get(name)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return found[0] if found and name != "method" else None
