"""A benchmark of methods for generators. Imports no torch.

Every figure of the table is a mean over seeds. From 8 models on there is a forgetting score as well, in the headline
setup `reuse-n-n`: N models unlearned from N originals against N retrained ones, N more of which give the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, SerializeAsAny, model_validator

from efface.benchmark.config import BenchConfig
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.results import KindName
from efface.benchmark.runs import Section
from efface.benchmark.setups import Setup
from efface.benchmark.tasks import BenchTask
from efface.errors import InputError
from efface.methods.base import GeneratorMethod
from efface.methods.registry import read_method
from efface.training.settings import TrainingSettings

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


def section_parts(section: Section) -> tuple[GeneratorMethod, dict[str, JsonValue], float | str]:
    """The method, the training settings and the retain share (or `proxy`) of a section; raises `InputError`."""
    method = read_method({name: value for name, value in section.items() if name not in BESIDE_METHOD})
    share = section.get("retain", 1.0)
    number = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    if not (number or share == "proxy"):
        raise InputError(
            f"method {method.name}: retain: a share above 0 and up to 1, or proxy, not {share!r}"
        )
    training = dict(section.get("training") or {})
    TrainingSettings.read(training, where=f"method {method.name}: training")
    return method, training, share
