"""What a task of generators is (images, model, training, what is hidden, what is kept), and a benchmark of methods for it.

Every figure of the table is a mean over seeds. From 8 models on there is a forgetting score as well, in the headline
setup `reuse-n-n`: N models unlearned from N originals against N retrained ones, N more of which give the ceiling.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, SerializeAsAny, field_validator, model_validator

from efface.benchmark.config import BenchConfig
from efface.benchmark.results import KindName
from efface.benchmark.runs import Section
from efface.benchmark.setups import Setup
from efface.benchmark.tasks import BenchTask
from efface.corruptions import parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.settings import EvaluationSettings
from efface.generators.families import Architecture
from efface.generators.registry import FAMILIES
from efface.methods.base import GeneratorMethod
from efface.methods.generator.fine_tune import FineTune
from efface.methods.generator.retrain import Retrain
from efface.methods.registry import read_method
from efface.runs.presets import published_section
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
        ("centre:0.5",), min_length=1, description="what is hidden in measuring"
    )
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="how models are measured")
    measured: int = Field(100, ge=5, description="retain images that are measured, at most")
    pictures: int = Field(
        0,
        ge=0,
        description="images of each set of which restored pictures are kept, for pictures.html; they show what is to be "
        "forgotten",
    )
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
                given = values.get("training") or {}
                training = (
                    FineTune.training_settings(given)
                    if values.get("base")
                    else Retrain.training_settings({**family.training, **given})
                )
                stage = {
                    **training.as_dict(),
                    **(family.first_stage or {}),
                    **(values.get("first_stage") or {}),
                }
                sections = {
                    "architecture": architecture,
                    "training": unfollowed(training, "training"),
                    "first_stage": unfollowed(
                        TrainingSettings.read(stage, where="first_stage"), "first_stage"
                    ),
                    "evaluation": {"crop_scale": training.crops.scale, **(values.get("evaluation") or {})},
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
            unfollowed(TrainingSettings.read(values, where="unlearning"), "unlearning")
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


Statistic = Literal["log-hole-error", "feature-distance", "task-loss"]
BESIDE_METHOD = ("training", "retain")
"""Entries of a section that are no settings of the method: training settings in place of the task's for unlearning, and
the share of the retain images at hand, or `proxy` for the task's proxy images."""


class GeneratorBench(BenchConfig):
    """A benchmark of methods that make generators forget."""

    kind: ClassVar[KindName] = "generators"
    headline: ClassVar[Setup] = "reuse-n-n"
    task_type: ClassVar[type[BenchTask]] = GeneratorTask
    tasks: Mapping[str, SerializeAsAny[GeneratorTask]] = Field(min_length=1, description="the tasks by name")
    models: int = Field(3, ge=2, description="N: seeds of each row; from 8 on there is a forgetting score")
    time_limit: None = Field(None, description="runs of generators have no limit of time")
    statistic: Statistic = Field(
        "log-hole-error", description="what the forgetting score reads of each forgotten image"
    )

    @model_validator(mode="after")
    def _statistic_is_kept(self) -> Self:
        without = [name for name, task in self.tasks.items() if not task.task_loss]
        if self.statistic == "task-loss" and without:
            raise ValueError(
                f"statistic: task-loss needs `task_loss: true` in the task ({', '.join(without)})"
            )
        return self

    def written_out(self, section: Section) -> Section:
        if "preset" not in section:
            return section
        families = sorted({task.generator for task in self.tasks.values()})
        if section["preset"] != "published" or len(families) > 1:
            raise InputError(
                f"method {section.get('name')}: preset: only published, and only where all models are of one family; here "
                f"they are {' and '.join(families)}"
            )
        return published_section(families[0], section)

    @classmethod
    def task_from(cls, name: str, folder: str | None) -> GeneratorTask:
        raise InputError(
            f"task: {name}: a task of generators is a section of a YAML file: images, model, training"
        )

    @classmethod
    def defaults_of(cls, name: str) -> Mapping[str, JsonValue]:
        return {}

    @classmethod
    def method_of(cls, section: Section) -> tuple[GeneratorMethod, dict[str, JsonValue], list[str]]:
        method, training, share = section_parts(section)
        beside: dict[str, JsonValue] = {}
        told = [f"{name}={value}" for name, value in training.items()]
        if training:
            beside["training"] = training
        if share != 1.0:
            beside["retain"] = share
            told.append("proxy retain" if share == "proxy" else f"{share:.0%} of retain")
        return method, beside, told


def unfollowed(settings: TrainingSettings, where: str) -> TrainingSettings:
    """The settings; raises `InputError` where they name trackers, which no run of a benchmark has."""
    if settings.trackers:
        raise InputError(
            f"{where}.trackers: no tracker follows the runs of a benchmark, of which there are hundreds: leave it out"
        )
    return settings


def section_parts(section: Section) -> tuple[GeneratorMethod, dict[str, JsonValue], float | str]:
    """The method, the training settings and the retain share (or `proxy`) of a section; raises `InputError`."""
    method = read_method({name: value for name, value in section.items() if name not in BESIDE_METHOD})
    share = section.get("retain", 1.0)
    number = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    if not isinstance(share, int | float | str) or not (number or share == "proxy"):
        raise InputError(
            f"method {method.name}: retain: a share above 0 and up to 1, or proxy, not {share!r}"
        )
    given = section.get("training") or {}
    training: dict[str, JsonValue] = dict(given) if isinstance(given, Mapping) else {"training": given}
    unfollowed(
        TrainingSettings.read(training, where=f"method {method.name}: training"),
        f"method {method.name}: training",
    )
    return method, training, share
