"""The configs of unlearning runs, of generators and of classifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, SerializeAsAny, field_serializer

from efface.classifiers.architecture import ClassifierSettings
from efface.errors import Faults, InputError
from efface.evaluation.settings import ClassifierEvaluationSettings, EvaluationSettings
from efface.methods import GeneratorMethod, read_method
from efface.methods.base import Method
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.generator.fine_tune import FineTune
from efface.methods.registry import read_classifier_method
from efface.metrics.base import ModelKind
from efface.runs.config import (
    STATISTICS,
    YARDSTICK,
    CorruptionText,
    MeasuredConfig,
    ModelSection,
    Verb,
    chosen,
    in_full_precision,
    readable,
    under_its_corruption,
    written_out,
)
from efface.runs.presets import Preset, Sections, check_published, departures, release_sections, with_release
from efface.runs.recipes import recipe_of
from efface.settings import Settings
from efface.training.settings import (
    Recipe,
    StatisticsChoice,
    StepMemory,
    TrainingSettings,
    parse_budget,
    shown_in_training,
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


BudgetText = Annotated[str, AfterValidator(lambda text: readable(parse_budget, text))]
PRESET: Preset | None = Field(
    None,
    description="published: the settings with which the method was published, for those that you do not give yourself",
)
BASE = (
    "the model from which this one was trained on, as a public one that was fine-tuned: `retrain` and `shrink-perturb` "
    "take its weights in the place of fresh ones, and other methods can ask it about forget images"
)
TimeLimitText = Annotated[str, AfterValidator(lambda text: readable(parse_time_limit, text))]


class RunConfig(MeasuredConfig):
    """One unlearning run of a generator."""

    verb: ClassVar[Verb] = "unlearn"
    kind: ClassVar[ModelKind] = "generator"

    model: ModelSection
    method: SerializeAsAny[GeneratorMethod]
    training: TrainingSettings
    corruption: CorruptionText = Field(
        "centre:0.5", description="what is hidden from the model, or shown to it instead"
    )
    evaluation: EvaluationSettings = EvaluationSettings()
    retrained: ModelSection | None = Field(None, description="a model trained without the forget images")
    yardstick: ModelSection | None = YARDSTICK
    base: ModelSection | None = Field(None, description=BASE)
    seed: int = Field(0, description="seed of unlearning")
    stored_side: int | None = Field(
        None,
        ge=8,
        description="short side at which decoded images are kept; default: 8/7 of the model's input",
    )
    budget: BudgetText | None = Field(None, description="bound on training, for example 10m or 500steps")
    with_pictures: bool = Field(False, description="also write pictures.html, which shows forgotten images")
    preset: Preset | None = PRESET

    unasked: ClassVar[tuple[str, ...]] = (*MeasuredConfig.unasked, "preset")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as a YAML file holds them; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            stand_in: GeneratorMethod = EncoderNoise()
            if values.get("preset") == "published":
                named = values.get("method") or {}
                name = named.get("name", stand_in.name) if isinstance(named, Mapping) else ""
                try:
                    values = with_release(values, str(name))
                except InputError as error:
                    faults.problems += error.problems
            method = chosen(read_method, values, "method", stand_in, faults)
            faults.problems += _of_base(method, values.get("base"))
            based = values.get("base") is not None and method.begins_anew
            # what begins with a base's weights goes on as fine-tuning does
            recommended = FineTune.training_settings if based else type(method).training_settings
            training = chosen(
                lambda section: recommended(
                    {**shown_in_training(values.get("corruption")), **in_full_precision(values, section)}
                ),
                values, "training", TrainingSettings(), faults,
            )  # fmt: skip
            config = cls.read({**values, "method": method, "training": training}, where="the config")
        if values.get("corruption") is None and config.model.undoes is not None:
            return cls.from_values({**values, "corruption": config.model.undoes})
        return under_its_corruption(config)

    @property
    def departures(self) -> list[str]:
        """What it says in the place of its preset."""
        if self.preset is None or self.model.family is None:
            return []
        published = release_sections(self.model.family, self.method.name)
        return departures(published, self.as_dict(), self.budget)

    @field_serializer("method")
    def _with_name(self, method: GeneratorMethod) -> dict[str, Any]:
        return {"name": method.name, **method.model_dump(mode="json")}


class ClassifierRunConfig(MeasuredConfig):
    """One unlearning run of a classifier."""

    verb: ClassVar[Verb] = "unlearn"
    kind: ClassVar[ModelKind] = "classifier"

    model: ClassifierSettings
    validation: tuple[str, ...] = Field(
        (), description="images never trained on that the method may look at, said as in images.forget"
    )
    method: SerializeAsAny[ClassifierMethod]
    recipe: Recipe = Field(description="how the original was trained")
    training: StepMemory = Field(StepMemory(), description="what a step holds in memory")
    evaluation: ClassifierEvaluationSettings = ClassifierEvaluationSettings()
    retrained: ClassifierSettings | None = Field(
        None, description="a model trained without the forget images"
    )
    yardstick: ClassifierSettings | None = YARDSTICK
    base: ClassifierSettings | None = Field(None, description=BASE)
    statistics: StatisticsChoice = STATISTICS
    seed: int = Field(0, description="seed of unlearning")
    budget: TimeLimitText | None = Field(
        None,
        description="bound on its time: 90s, 10m, or 20%, a share of the time that retraining would take",
    )
    preset: Preset | None = PRESET

    unasked: ClassVar[tuple[str, ...]] = (*MeasuredConfig.unasked, "preset", "training")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as a YAML file holds them; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            stand_in: ClassifierMethod = FineTuneClassifier()
            method = chosen(read_classifier_method, values, "method", stand_in, faults)
            faults.problems += _of_base(method, values.get("base"))
            recipe = recipe_of(values, "model", faults)
            if values.get("preset") == "published" and not faults:
                check_published(method)
            return cls.read({**values, "method": method, "recipe": recipe}, where="the config")

    @property
    def selectors(self) -> tuple[str, ...]:
        return (*self.images.selectors, *self.validation)

    @property
    def departures(self) -> list[str]:
        """What it says in the place of its preset."""
        if self.preset is None:
            return []
        published: Sections = {"method": type(self.method)().model_dump(mode="json")}
        return departures(published, self.as_dict(), self.budget)

    @property
    def knows_recipe(self) -> bool:
        """Whether anything of the recipe was noted beside the model or given; otherwise it is the default one."""
        return bool(self.recipe.model_fields_set)

    @field_serializer("method")
    def _with_name(self, method: ClassifierMethod) -> dict[str, Any]:
        return {"name": method.name, **method.model_dump(mode="json")}


def _of_base(method: Method, base: object) -> list[str]:
    """What is wrong where a method asks a base and none is named, or makes no use of the one that is."""
    if base is None and method.asks_base:
        return [f"base: {method.name} asks it with these settings: name it with --from BASE"]
    if base is not None and not (method.asks_base or method.begins_anew):
        return [f"base: {method.name} makes no use of it with these settings; leave it out"]
    return []
