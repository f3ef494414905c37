"""The configs of trainings, from fresh weights or from a base model, of generators and of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from efface.classifiers.architecture import AnyNetwork, ClassifierSettings, SavedNormalisation
from efface.errors import Faults, InputError
from efface.generators.families import Architecture, Family
from efface.generators.registry import FAMILIES, family_of, named_by_option, read_model
from efface.methods.generator.fine_tune import FineTune
from efface.methods.generator.retrain import Retrain
from efface.metrics.base import ModelKind
from efface.runs.bases import base_behind
from efface.runs.config import (
    STATISTICS,
    FromScratchConfig,
    ModelSection,
    Verb,
    chosen,
    in_full_precision,
    written_out,
)
from efface.runs.recipes import recipe_of
from efface.runs.unlearn_config import BudgetText
from efface.settings import Settings
from efface.training.settings import Recipe, StatisticsChoice, StepMemory, TrainingSettings


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
    arguments: dict[str, JsonValue] | None = Field(
        None, description="package.module:build: keyword arguments for that code"
    )

    @model_serializer(mode="wrap")
    def _what_the_network_has(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if value is not None}


BASE = (
    "a model from whose weights training goes on, as a public one that is fine-tuned; default: fresh weights"
)


class TrainConfig(FromScratchConfig):
    """Training a generator, for instance the reference without the forget images."""

    verb: ClassVar[Verb] = "train"
    kind: ClassVar[ModelKind] = "generator"

    generator: str = Field(
        "mae", description="the family of the new model; default: mae, or that of the model named by like"
    )
    architecture: SerializeAsAny[Architecture]
    like: ModelSection | None = Field(
        None, description="a model whose family, shape and value space are taken over"
    )
    base: ModelSection | None = Field(None, description=BASE)
    keep_first_stage: bool = Field(
        False,
        description="with like: take over its tokenizer or VAE as it is, which may hold left-out images",
    )
    training: TrainingSettings
    first_stage: TrainingSettings = Field(
        description="how a tokenizer or VAE is trained, if the model has one"
    )
    seed: int = Field(0, description="seed of initialisation, order, crops and masks")
    stored_side: int | None = Field(None, ge=8, description="short side at which decoded images are kept")
    budget: BudgetText | None = Field(
        None, description="bound on training, for example 10m or 500steps; of generators only"
    )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        with Faults("the config cannot be used") as faults:
            values = _with_base(_shaped(written_out(values)), faults)
            family = _family(values, faults)
            based = values.get("base") is not None
            named = "base" if based else "like"
            architecture = family.architecture()
            if values.get(named) is None or values.get("architecture"):
                architecture = chosen(family.shape, values, "architecture", architecture, faults)
            if values.get(named) is not None and architecture != family.architecture():
                faults.add(
                    f"architecture: with {named}, the shape is that of the model named there; leave it out"
                )
            stand_in = TrainingSettings()
            recommended_by = FineTune if based else Retrain
            of_family = {} if based else family.training
            training = chosen(
                lambda section: recommended_by.training_settings(
                    {**of_family, **in_full_precision(values, section)}
                ),
                values, "training", stand_in, faults,
            )  # fmt: skip
            whose = f"a model of the family {family.name} has no first stage"
            if family.first_stage is None or based:
                faults.problems += [
                    f"{name}: {'with base, its tokenizer or VAE stays as it is' if based else whose}; leave it out"
                    for name in ("first_stage", "keep_first_stage")
                    if values.get(name)
                ]
            recommended = {**training.as_dict(), **(family.first_stage or {})}
            first_stage = chosen(
                lambda section: TrainingSettings.read({**recommended, **section}, where="first_stage"),
                values, "first_stage", stand_in, faults,
            )  # fmt: skip
            decided = {"generator": family.name, "architecture": architecture, "training": training}
            return cls.read({**values, **decided, "first_stage": first_stage}, where="the config")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, without what the family does not have, or what is a base's."""
        values = super().as_dict()
        if FAMILIES[self.generator].first_stage is None or self.base is not None:
            del values["first_stage"], values["keep_first_stage"]
        if self.base is not None:
            del values["architecture"]
        elif self.like is None:
            del values["base"]
        return values

    @model_validator(mode="after")
    def _first_stage_of_a_model(self) -> Self:
        if self.keep_first_stage and self.like is None and self.base is None:
            raise ValueError("keep_first_stage: only with like, a model whose first stage is taken over")
        return self


class ClassifierTrainConfig(FromScratchConfig):
    """Training a classifier, for instance the reference without the forget images."""

    verb: ClassVar[Verb] = "train"
    kind: ClassVar[ModelKind] = "classifier"

    classifier: AnyNetwork | None = Field(
        None,
        description="the network: resnet18, small-conv, mlp, or code that builds it: package.module:build",
    )
    architecture: Shape = Shape()
    like: ClassifierSettings | None = Field(
        None, description="a model whose network, classes and normalisation are taken over"
    )
    base: ClassifierSettings | None = Field(None, description=BASE)
    normalisation: SavedNormalisation = Field(
        SavedNormalisation(scale=255, mean=(0.5,), std=(0.5,)),
        description="from values 0..255 to what the network is fed; by default to -1..1",
    )
    recipe: Recipe = Field(description="optimizer, epochs and weights")
    training: StepMemory = Field(StepMemory(), description="what a step holds in memory")
    statistics: StatisticsChoice = STATISTICS
    seed: int = Field(0, description="seed of initialisation and order")

    unasked: ClassVar[tuple[str, ...]] = (*FromScratchConfig.unasked, "training")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        with Faults("the config cannot be used") as faults:
            values = _with_base(written_out(values), faults)
            recipe = recipe_of(values, "like", faults)
            return cls.read({**values, "recipe": recipe}, where="the config")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, without a word about a base that nobody thinks of."""
        values = super().as_dict()
        if self.base is None and self.like is None:
            del values["base"]
        return values

    @model_validator(mode="after")
    def _one_source_of_the_shape(self) -> Self:
        named = "base" if self.base else "like" if self.like else None
        if (self.classifier is None) == (named is None):
            raise ValueError(
                "classifier, like or base: give one of them, a network by name or a model that has it"
            )
        if named and {"architecture", "normalisation"} & self.model_fields_set:
            raise ValueError(
                f"architecture, normalisation: with {named}, they are those of the model named there"
            )
        return self


def _with_base(values: Mapping[str, Any], faults: Faults) -> Mapping[str, Any]:
    """The values with the base from which the model named by `like` was trained, where nothing is said of a base."""
    like = values.get("like")
    if "base" in values or not isinstance(like, Mapping) or not isinstance(like.get("path"), str):
        return values
    try:
        base = base_behind(like["path"])
    except InputError as error:
        faults.problems += error.problems
        return values
    return {**values, "base": base} if base else values


def _shaped(values: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """A new model that is named as one to be opened is, by what builds it: `model` becomes family and architecture."""
    section = values.get("model")
    if section is None:
        return values
    family = named_by_option(section) if isinstance(section, dict) else None
    if family is None or not isinstance(section, dict):
        options = " or ".join(f"model.{one.named_by}" for one in FAMILIES.values() if one.named_by)
        raise InputError(
            f"model: a new model is named by {options}; one to be followed by like, a family by generator"
        )
    rest = {name: value for name, value in values.items() if name != "model"}
    return {**rest, "generator": family.name, "architecture": section}


def _family(values: Mapping[str, Any], faults: Faults) -> Family:
    """The family of a new model: the one named, else that of the model it is to be like."""
    name = values.get("generator")
    model = values.get("base") or values.get("like")
    try:
        if name is None and isinstance(model, Mapping):
            return family_of(read_model(model))
        return FAMILIES.named("mae" if name is None else str(name))
    except InputError as error:
        faults.problems += error.problems
    return FAMILIES.named("mae")
