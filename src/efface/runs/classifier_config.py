"""The configs of runs on classifiers, beside those of `runs.config` for generators."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_serializer, field_validator, model_validator

from efface.classifiers.architecture import ClassifierSettings, NetworkName, SavedNormalisation
from efface.errors import Faults, InputError
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.generators.families import TRAINING_NOTE
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.registry import read_classifier_method
from efface.runs.config import FromScratchConfig, MeasuredConfig, or_value_error, written_out
from efface.settings import Settings
from efface.training.recipe import Recipe
from efface.training.settings import parse_budget

TIME_LIMIT = "bound on its time: 90s, 10m, or 20%, a share of the time that retraining would take"


class Shape(Settings):
    """The shape of a new classifier, all but its classes, which are the labels of its images."""

    image_size: int = Field(32, ge=4, description="side of the square input in pixels")
    channels: Literal[1, 3] = Field(3, description="colour channels: 3, or 1 for grey pictures")
    width: int | None = Field(
        None, ge=1, description="small-conv: channels of the first block; mlp: hidden units"
    )
    stem: Literal["imagenet", "cifar"] | None = Field(
        None, description="resnet18: imagenet (default), or cifar for small pictures"
    )


class TimeLimit(Settings):
    """A bound on unlearning: seconds, or a share of the time that retraining would take."""

    seconds: float | None = None
    share: float | None = None


def parse_time_limit(text: str) -> TimeLimit:
    """Read `90s`, `10m`, `1.5h` or `20%`; raises `InputError`.

    >>> parse_time_limit("10m").seconds, parse_time_limit("20%").share
    (600.0, 0.2)
    """
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text):
        share = float(match[1]) / 100
        if not share > 0:
            raise InputError(f"budget '{text}': a share must be above 0")
        return TimeLimit(share=share)
    if re.fullmatch(r"\s*\d+\s*steps?\s*", text):
        raise InputError(
            f"budget '{text}': the steps of a classifier follow from the method's epochs; bound its time instead, as "
            "90s, 10m, or 20% of retraining"
        )
    try:
        return TimeLimit(seconds=parse_budget(text).seconds)
    except InputError:
        raise InputError(f"budget '{text}': write it as 90s, 10m, 1.5h, or 20% (of retraining)") from None


class ClassifierRunConfig(MeasuredConfig):
    """One unlearning run on a classifier."""

    model: ClassifierSettings
    validation: tuple[str, ...] = Field(
        (), description="images never trained on that the method may look at, said as in images.forget"
    )
    method: SerializeAsAny[ClassifierMethod]
    recipe: Recipe = Field(description="how the original was trained")
    evaluation: ClassifierEvaluationSettings = ClassifierEvaluationSettings()
    retrained: ClassifierSettings | None = Field(
        None, description="a model trained without the forget images"
    )
    statistics: Literal["keep", "recompute"] = Field(
        "keep",
        description="running statistics of batch normalisation: keep, or recompute from retain images after the method",
    )
    seed: int = Field(0, description="seed of unlearning")
    budget: str | None = Field(None, description=TIME_LIMIT)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as a YAML file holds them; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            method = _method(values.get("method", {}), faults)
            recipe = _recipe(values, "model", faults)
            return cls.read({**values, "method": method, "recipe": recipe}, where="the config")

    @property
    def knows_recipe(self) -> bool:
        """Whether anything of the recipe was noted beside the model or given; otherwise it is the default one."""
        return bool(self.recipe.model_fields_set)

    @field_validator("budget")
    @classmethod
    def _readable_limit(cls, text: str | None) -> str | None:
        if text is not None:
            or_value_error(parse_time_limit, text)
        return text

    @field_serializer("method")
    def _with_name(self, method: ClassifierMethod) -> dict[str, Any]:
        return {"name": method.name, **method.model_dump(mode="json")}


class ClassifierTrainConfig(FromScratchConfig):
    """Training a classifier from scratch, for instance the reference without the forget images."""

    classifier: NetworkName | None = Field(None, description="the network: resnet18, small-conv or mlp")
    architecture: Shape = Shape()
    like: ClassifierSettings | None = Field(
        None, description="a model whose network, classes and normalisation are taken over"
    )
    normalisation: SavedNormalisation = Field(
        SavedNormalisation(scale=255, mean=(0.5,), std=(0.5,)),
        description="from values 0..255 to what the network is fed; by default to -1..1",
    )
    recipe: Recipe = Field(description="optimizer, epochs and weights")
    seed: int = Field(0, description="seed of initialisation and order")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            recipe = _recipe(values, "like", faults)
            return cls.read({**values, "recipe": recipe}, where="the config")

    @model_validator(mode="after")
    def _one_source_of_the_shape(self) -> Self:
        if (self.classifier is None) == (self.like is None):
            raise ValueError("classifier or like: give one of them, a network by name or a model that has it")
        if self.like is not None and {"architecture", "normalisation"} & self.model_fields_set:
            raise ValueError(
                "architecture, normalisation: with like, they are those of the model named there"
            )
        return self


class ClassifierEvaluateConfig(MeasuredConfig):
    """Comparing classifiers that are there already."""

    original: ClassifierSettings = Field(description="the model before unlearning")
    unlearned: ClassifierSettings | None = Field(None, description="the model after unlearning")
    retrained: ClassifierSettings | None = Field(
        None, description="a model trained without the forget images"
    )
    evaluation: ClassifierEvaluationSettings = ClassifierEvaluationSettings()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        return cls.read(written_out(values), where="the config")


def noted_recipe(path: str) -> dict[str, Any]:
    """The recipe that efface noted beside a model that it trained; empty where there is no note."""
    note = Path(path) / TRAINING_NOTE
    if not note.is_file():
        return {}
    try:
        recipe = json.loads(note.read_text(encoding="utf-8"))["recipe"]
        return Recipe.read(recipe, where=str(note)).as_dict()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{note} cannot be read: {error}. Remove it, and give the recipe in the config"
        ) from None


def _recipe(values: Mapping[str, Any], model: str, faults: Faults) -> Recipe:
    """The recipe beside the model named in the section `model`, with what the config says in its place."""
    section, named = values.get("recipe") or {}, values.get(model)
    try:
        if not isinstance(section, Mapping):
            raise InputError(f"give a section with settings, not {section!r}")
        path = str(named["path"]) if isinstance(named, Mapping) and "path" in named else None
        return Recipe.read({**(noted_recipe(path) if path else {}), **section}, where="recipe")
    except InputError as error:
        faults.problems += [f"recipe: {problem}" for problem in error.problems]
    return Recipe()


def _method(section: Any, faults: Faults) -> ClassifierMethod:
    """The method of a config section; on a fault a stand-in, so that the other sections are read too."""
    try:
        if not isinstance(section, Mapping):
            raise InputError(f"give a name, or a section with a name, not {section!r}")
        return read_classifier_method(section)
    except InputError as error:
        faults.problems += [f"method: {problem}" for problem in error.problems]
    return FineTuneClassifier()
