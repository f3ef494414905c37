"""What a task of generators is: its images, the model and its training, what is hidden, and what is kept. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from efface.benchmark.tasks import BenchTask
from efface.corruptions import parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.settings import EvaluationSettings
from efface.generators.registry import FAMILIES
from efface.generators.settings import Architecture
from efface.methods.generator.retrain import Retrain
from efface.settings import Settings, unknown_name
from efface.training.settings import TrainingSettings


class RelearningSettings(Settings):
    """How it is tried whether what was forgotten comes back: fine-tuning, and the forget error along it."""

    steps: tuple[int, ...] = Field(
        (5, 10, 20, 40), min_length=1, description="steps after which the forget error is measured"
    )
    shots: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the forget images that the second try is shown; the others are measured",
    )

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if steps[0] < 1 or any(later <= before for before, later in pairwise(steps)):
            raise ValueError("steps: whole numbers from 1 on, each above the one before")
        return steps


class GeneratorTask(BenchTask):
    """A generator trained on images of which some are to be forgotten.

    The data's test images are the neutral set, its validation images of classes that are retained the proxy retain set.
    """

    files: ClassVar[tuple[tuple[str, str], ...]] = (("evaluation", "extractor"), ("evaluation", "similarity"))
    generator: str = Field("mae", description="the family of the model")
    architecture: SerializeAsAny[Architecture] = Field(description="its shape; `size` names one")
    training: TrainingSettings = Field(description="how originals and retrained models are trained")
    first_stage: TrainingSettings = Field(description="how a tokenizer or VAE is trained, if there is one")
    unlearning: Mapping[str, Any] = Field(
        {}, description="training settings of unlearning, in place of those that a method recommends"
    )
    corruptions: tuple[str, ...] = Field(
        ("centre:0.5",), min_length=1, description="what is hidden in measuring; unlearning sees the first"
    )
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="how models are measured")
    measured: int = Field(100, ge=5, description="retain images that are measured, at most")
    pictures: int = Field(8, ge=0, description="images of each set of which restored pictures are kept")
    relearning: RelearningSettings | None = Field(
        None, description="try with each model whether fine-tuning brings the forget images back"
    )
    task_loss: bool = Field(False, description="also keep the model's own loss on each view")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The same with what the family recommends in the place of what is left out."""
        values = dict(values)
        with Faults("this task cannot be used") as faults:
            try:
                family = FAMILIES.named(str(values.get("generator", "mae")))
            except InputError as error:
                faults.problems += error.problems
                family = FAMILIES.named("mae")
            shape = dict(values.get("architecture") or {})
            size = shape.pop("size", "tiny")
            if size not in family.sizes:
                faults.add("architecture: " + unknown_name("size", str(size), family.sizes))
                size = "tiny"
            sections: dict[str, Any] = {}
            try:
                shape = {**family.sizes[size], **shape}
                architecture = family.architecture.read(shape, where="architecture")
                faults.problems += [f"architecture: {problem}" for problem in architecture.faults()]
                training = Retrain.training_settings({**family.training, **(values.get("training") or {})})
                stage = {
                    **training.as_dict(),
                    **(family.first_stage or {}),
                    **(values.get("first_stage") or {}),
                }
                sections = {
                    "architecture": architecture,
                    "training": training,
                    "first_stage": TrainingSettings.read(stage, where="first_stage"),
                    "images": {
                        "channels": 3,
                        "image_size": architecture.image_size,
                        **values.get("images", {}),
                    },
                }
            except InputError as error:
                faults.problems += error.problems
            if not faults:
                return cls.read({**values, **sections}, where="the task")
        raise AssertionError("faults are raised above")

    @field_validator("corruptions")
    @classmethod
    def _known_corruptions(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            found = tuple(str(parse_corruption(text)) for text in texts)
            if len(set(found)) < len(found):
                raise ValueError("one of them stands there twice")
            return found
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None

    @field_validator("unlearning")
    @classmethod
    def _known_settings(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            TrainingSettings.read(values, where="unlearning")
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None
        return values

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.images.side != self.architecture.image_size:
            raise ValueError(
                f"images.image_size is {self.images.side}, the model's {self.architecture.image_size}: leave it out"
            )
        if self.images.colours != 3:
            raise ValueError("images.channels: generators take colour pictures; leave it out")
        return self
