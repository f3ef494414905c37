"""What a benchmark of classifier methods is: its settings, its rows, and the runs that they need. Imports no torch.

The headline setup is the competition's, `reuse-n-1`: every experiment starts from another original, and intervals are
over originals. The other setups show whether the order of methods depends on the setup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from efface.benchmark.classifiers.task import ClassifierTask, task_named
from efface.benchmark.engines import EngineText
from efface.benchmark.runs import Run
from efface.benchmark.setups import Experiment, Setup, experiments
from efface.errors import Faults, InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import CLASSIFIER_METHODS, read_classifier_method
from efface.settings import Settings, read_yaml, with_overrides

HEADLINE: Setup = "reuse-n-1"
REFERENCE_METHOD = "retrain"
"""Not among `all`: its row would repeat the reference row `retrained`, at the price of a training for each run."""

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    # of 15 epochs, where the competition's limit is a fifth of 30: about as many epochs, for which methods were made
    "faces-age": {"time_limit": 0.2},
    "casia-surf": {"time_limit": 0.2, "tuning": None},
    "cifar10": {"time_limit": 0.2},
}
"""Settings by the name of a task: the competition's limit, and no tuning on its own task, for which methods were made.

Digits have no limit: retraining takes fifteen epochs there, and published settings take up to nine."""


class TuningSettings(Settings):
    """The budget for settings, the same for every method that has any to tune."""

    trials: int = Field(
        6, ge=2, description="settings tried of each method; the first are the published ones"
    )
    models: int = Field(4, ge=2, description="unlearned models of each trial, each from another original")
    references: int = Field(16, ge=4, description="models retrained without the forget set for tuning")
    seed: int = Field(0, ge=0, description="seed of the trials")


class BenchConfig(Settings):
    """A benchmark: task, methods, how many models and experiments, tuning, and where it is carried out."""

    task: ClassifierTask = Field(description="a task by name, or its settings")
    methods: Literal["all"] | tuple[str | dict[str, Any], ...] = Field(
        "all",
        description="all (but retrain, the reference), or a list of names and of sections with settings",
    )
    models: int = Field(
        32, ge=8, description="N: unlearned models of an experiment; twice as many are retrained"
    )
    originals: int = Field(
        3, ge=1, description="experiments of reuse-n-1, each from another original; of bootstrap too"
    )
    repeats: int = Field(
        1, ge=1, description="experiments of reuse-n-n and full, each with N unlearned models more"
    )
    setups: tuple[Setup, ...] = Field(
        (HEADLINE, "reuse-n-n", "bootstrap"),
        description="which setups are compared; reuse-n-1 is always among them",
    )
    tuning: TuningSettings | None = Field(
        TuningSettings(), description="budget of tuning; null: settings as published only"
    )
    time_limit: float | None = Field(
        None, gt=0, description="share of a retraining after which unlearning is stopped where it is"
    )
    engine: EngineText = Field("processes", description="where runs are carried out, for example processes:4")
    seed: int = Field(0, ge=0, description="seed of resampling and of scores")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of intervals")

    @field_validator("task", mode="before")
    @classmethod
    def _task_by_name(cls, value: Any) -> Any:
        return task_named(value) if isinstance(value, str) else value

    @property
    def all_setups(self) -> tuple[Setup, ...]:
        """The headline first, each once."""
        return tuple(dict.fromkeys((HEADLINE, *self.setups)))

    def experiments(self, setup: Setup) -> int:
        """How many experiments a setup has."""
        return self.originals if setup in (HEADLINE, "bootstrap") else self.repeats

    def experiments_of(self, setup: Setup, section: Mapping[str, Any]) -> list[Experiment]:
        """The experiments of a method's section."""
        return experiments(
            setup,
            section,
            self.models,
            self.experiments(setup),
            seed=self.seed,
            deterministic=CLASSIFIER_METHODS[section["name"]].deterministic,
        )


def bench_config(
    name: str, values: Mapping[str, Any] | None = None, overrides: Iterable[str] = (), data: str | None = None
) -> BenchConfig:
    """A benchmark by the name of a built-in task, or from a YAML file of `BenchConfig`.

    values: settings in place of those; overrides: `key=value` texts, which win. data: the folder of the task's images.
    Raises one `InputError` with all faults.
    """
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        settings = read_yaml(Path(name))
        if "task" not in settings:
            raise InputError(f"{name}: it names no task; add for example `task: digits`")
    else:
        settings = {"task": name}
    if isinstance(settings["task"], str):
        settings = {**BUILT_IN.get(settings["task"], {}), **settings}
    settings = {**settings, **(values or {})}
    overrides = list(overrides)
    if (values or {}).get("tuning", {}) is None and any(one.startswith("tuning.") for one in overrides):
        raise InputError("no tuning, and a setting of tuning, exclude each other; leave one of them out")
    # so that a single setting of it can be changed
    if isinstance(settings["task"], str):
        settings["task"] = task_named(settings["task"], data).as_dict()
    elif data is not None:
        settings["task"] = {**settings["task"], "path": data}
    if settings.get("tuning", {}) is None and any(one.startswith("tuning.") for one in overrides):
        settings["tuning"] = {}
    return BenchConfig.read(with_overrides(settings, overrides), where=f"the benchmark {name}")


@dataclass(frozen=True)
class Entry:
    """A method in a table: its label, its class, and its section (name and all settings)."""

    label: str
    method: ClassifierMethod
    section: dict[str, Any]


def entries(config: BenchConfig) -> list[Entry]:
    """The methods of a benchmark with their published settings, or those of their section; one error for all faults."""
    if config.methods == "all":
        chosen: Sequence[str | dict[str, Any]] = [
            name for name in CLASSIFIER_METHODS if name != REFERENCE_METHOD
        ]
    else:
        chosen = config.methods
    found = []
    with Faults("these methods cannot be compared") as faults:
        for one in chosen:
            section = {"name": one} if isinstance(one, str) else one
            try:
                found.append(entry(section))
            except InputError as error:
                for problem in error.problems:
                    faults.add(problem)
        if not chosen:
            faults.add("methods: none given; name some, or write all")
        for label in {one.label for one in found if [other.label for other in found].count(one.label) > 1}:
            faults.add(f"methods: {label} stands there twice with the same settings")
    return found


def entry(section: Mapping[str, Any]) -> Entry:
    """A method from its section. Settings that differ from the published ones show in its label."""
    method = read_classifier_method(section)
    # the fields' own defaults: a method of another package may have settings that must be given
    published = type(method).model_construct().model_dump(mode="json", warnings=False)
    values = method.as_dict()
    changed = [
        f"{name}={value}"
        for name, value in values.items()
        if name not in published or value != published[name]
    ]
    label = method.name + (f" ({', '.join(changed)})" if changed else "")
    return Entry(label, method, {"name": method.name, **values})


def shared_runs(config: BenchConfig, setups: Iterable[Setup]) -> list[Run]:
    """Originals and retrained models of these setups, each once: no method adds to them."""
    runs: dict[Run, None] = {}
    for setup in setups:
        for experiment in config.experiments_of(setup, {"name": REFERENCE_METHOD}):
            runs.update(dict.fromkeys((*experiment.original, *experiment.retrained)))
    return list(runs)


def unlearned_runs(config: BenchConfig, setups: Iterable[Setup], section: Mapping[str, Any]) -> list[Run]:
    """The unlearned models of a method's section in these setups, each once."""
    found = (
        run for setup in setups for one in config.experiments_of(setup, section) for run in one.unlearned
    )
    return list(dict.fromkeys(found))


def tuning_starts(config: BenchConfig) -> range:
    """The originals from which trials start: those after the scored ones of `reuse-n-1`; `reuse-n-n` has them anyway."""
    assert config.tuning is not None
    return range(config.originals, config.originals + config.tuning.models)


def tuning_reference_runs(config: BenchConfig) -> list[Run]:
    """The originals from which trials start, and the models retrained without the forget set for tuning."""
    if config.tuning is None:
        return []
    return [
        *(Run("original", start) for start in tuning_starts(config)),
        *(Run("retrained", place, purpose="tuning") for place in range(config.tuning.references)),
    ]
