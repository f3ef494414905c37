"""A benchmark of methods for classifiers. Imports no torch.

The headline setup is the competition's, `reuse-n-1`: every experiment starts from another original, and intervals are
over originals. The other setups tell whether the order of methods depends on the setup.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, JsonValue, SerializeAsAny

from efface.benchmark.classifiers.task import ClassifierTask, task_named
from efface.benchmark.config import BenchConfig, TuningSettings
from efface.benchmark.results import KindName
from efface.benchmark.runs import Section
from efface.benchmark.setups import Setup
from efface.benchmark.tasks import BenchTask
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import read_classifier_method

DEFAULTS: Mapping[str, Mapping[str, JsonValue]] = {
    # of 15 epochs, where the competition's limit is a fifth of 30: about as many epochs, for which methods were made
    "faces-age": {"time_limit": 0.2},
    "casia-surf": {"time_limit": 0.2, "tuning": None},
    "cifar10": {"time_limit": 0.2},
}
"""Settings by the name of a task: the competition's limit, and no tuning on its own task, for which methods were made.

Digits have no limit: retraining takes fifteen epochs there, and published settings take up to nine."""


class ClassifierBench(BenchConfig):
    """A benchmark of methods that make classifiers forget."""

    kind: ClassVar[KindName] = "classifiers"
    headline: ClassVar[Setup] = "reuse-n-1"
    task_type: ClassVar[type[BenchTask]] = ClassifierTask
    tasks: Mapping[str, SerializeAsAny[ClassifierTask]] = Field(min_length=1, description="the tasks by name")
    models: int = Field(
        32, ge=8, description="N: unlearned models of an experiment; twice as many are retrained"
    )
    setups: tuple[Setup, ...] = Field(
        ("reuse-n-1", "reuse-n-n", "bootstrap"),
        description="which setups are compared; reuse-n-1 is always among them",
    )
    tuning: TuningSettings | None = Field(
        TuningSettings(), description="budget of tuning; null: settings as published only"
    )

    @classmethod
    def task_from(cls, name: str, folder: str | None) -> ClassifierTask:
        return task_named(name, folder)

    @classmethod
    def defaults_of(cls, name: str) -> Mapping[str, JsonValue]:
        return DEFAULTS.get(name, {})

    @classmethod
    def method_of(cls, section: Section) -> tuple[ClassifierMethod, dict[str, JsonValue], list[str]]:
        return read_classifier_method(section), {}, []
