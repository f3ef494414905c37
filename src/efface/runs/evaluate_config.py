"""The configs of evaluations of models that are there already, of generators and of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field

from efface.classifiers.architecture import ClassifierSettings
from efface.errors import Faults
from efface.evaluation.settings import ClassifierEvaluationSettings, EvaluationSettings
from efface.metrics.base import ModelKind
from efface.runs.config import (
    YARDSTICK,
    CorruptionText,
    MeasuredConfig,
    ModelSection,
    Verb,
    under_its_corruption,
    written_out,
)
from efface.runs.recipes import recipe_of
from efface.training.settings import Recipe, TrainingSettings


class EvaluateConfig(MeasuredConfig):
    """Comparing generators that are there already."""

    verb: ClassVar[Verb] = "evaluate"
    kind: ClassVar[ModelKind] = "generator"

    original: ModelSection = Field(description="the model before unlearning")
    unlearned: ModelSection | None = Field(None, description="the model after unlearning")
    retrained: ModelSection | None = Field(None, description="a model trained without the forget images")
    yardstick: ModelSection | None = YARDSTICK
    corruption: CorruptionText = Field(
        "centre:0.5", description="what is hidden from the models, or shown to them instead"
    )
    evaluation: EvaluationSettings = EvaluationSettings()
    training: TrainingSettings = Field(
        TrainingSettings(), description="how the run trained, for probes that train: batch, precision, crops"
    )
    stored_side: int | None = Field(None, ge=8, description="short side at which decoded images are kept")
    with_pictures: bool = Field(False, description="also write pictures.html, which shows forgotten images")

    unasked: ClassVar[tuple[str, ...]] = (*MeasuredConfig.unasked, "training")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        config = cls.read(written_out(values), where="the config")
        if values.get("corruption") is None and config.original.undoes is not None:
            return cls.from_values({**values, "corruption": config.original.undoes})
        return under_its_corruption(config)


class ClassifierEvaluateConfig(MeasuredConfig):
    """Comparing classifiers that are there already."""

    verb: ClassVar[Verb] = "evaluate"
    kind: ClassVar[ModelKind] = "classifier"

    original: ClassifierSettings = Field(description="the model before unlearning")
    unlearned: ClassifierSettings | None = Field(None, description="the model after unlearning")
    retrained: ClassifierSettings | None = Field(
        None, description="a model trained without the forget images"
    )
    yardstick: ClassifierSettings | None = YARDSTICK
    evaluation: ClassifierEvaluationSettings = ClassifierEvaluationSettings()
    recipe: Recipe = Field(Recipe(), description="how the original was trained, for probes that train")

    unasked: ClassVar[tuple[str, ...]] = (*MeasuredConfig.unasked, "recipe")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            recipe = recipe_of(values, "original", faults)
            return cls.read({**values, "recipe": recipe}, where="the config")
