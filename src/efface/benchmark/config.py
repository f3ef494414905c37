"""What a benchmark is: tasks, methods, how many models, setups, tuning, and the runs that they need. Imports no torch.

Seed s stands for an original s and a retrained model s. Which unlearned models are compared with which retrained ones is
the setup's (`setups`); a kind of model has one in which its tables are made, the headline.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, SerializeAsAny, field_validator, model_validator

from efface.benchmark.engines import EngineText, engine_named
from efface.benchmark.results import KindName
from efface.benchmark.runs import PoolRun, Section
from efface.benchmark.setups import RETRAINED_FOR_EACH, Experiment, Setup, experiments
from efface.benchmark.tasks import BenchTask, with_data
from efface.devices import AUTO, readable_device
from efface.documents import read_yaml
from efface.errors import Faults, InputError
from efface.forgetting.comparison import FEWEST_MODELS as FEWEST_FOR_SCORE
from efface.methods.base import Method
from efface.methods.registry import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.settings import Settings, unknown_name, with_overrides

REFERENCE_METHOD = "retrain"
"""Not among `all`: its row would repeat the reference row `retrained`, at the price of a training for each run."""


class TuningSettings(Settings):
    """The budget for settings, the same for every method that has any to tune."""

    trials: int = Field(6, ge=2, description="settings tried of each method; the first are the defaults")
    models: int = Field(4, ge=2, description="unlearned models of each trial, each from another original")
    references: int = Field(16, ge=4, description="models retrained without the forget set for tuning")
    seed: int = Field(0, ge=0, description="seed of the trials")


class BenchConfig(Settings):
    """A benchmark of either kind of model."""

    kind: ClassVar[KindName]
    headline: ClassVar[Setup]
    task_type: ClassVar[type[BenchTask]]
    tasks: Mapping[str, SerializeAsAny[BenchTask]] = Field(min_length=1, description="the tasks by name")
    methods: Literal["all"] | tuple[str | dict[str, JsonValue], ...] = Field(
        "all",
        description="all (but retrain, the reference), or a list of names and of sections with settings",
    )
    models: int = Field(3, ge=2, description="N: unlearned models of an experiment")
    originals: int = Field(
        3, ge=1, description="experiments of reuse-n-1, each from another original; of bootstrap too"
    )
    repeats: int = Field(
        1, ge=1, description="experiments of reuse-n-n and full, each with N unlearned models more"
    )
    setups: tuple[Setup, ...] = Field((), description="which setups are compared beside the headline")
    tuning: TuningSettings | None = Field(None, description="budget of tuning; null: default settings only")
    time_limit: float | None = Field(
        None, gt=0, description="share of a retraining after which unlearning is stopped where it is"
    )
    keep_weights: bool = Field(
        False,
        description="keep the weights of the originals, which hold what is to be forgotten; without them, methods that "
        "are added later have the originals trained again",
    )
    engine: EngineText = Field("processes", description="where runs are carried out, for example processes:4")
    device: str = Field(
        AUTO,
        description="where models run, with an engine that names none: cpu, cuda, cuda:1, mps; auto is the engine's own",
    )
    seed: int = Field(0, ge=0, description="seed of resampling and of scores")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of intervals")

    @field_validator("methods", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, Mapping) or (isinstance(value, str) and value != "all") else value

    @model_validator(mode="after")
    def _engine_takes_device(self) -> Self:
        try:
            engine_named(self.engine, on=readable_device(self.device))
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _setups_can_be_scored(self) -> Self:
        if len(self.all_setups) > 1 and not self.scored:
            raise ValueError(
                f"setups: orders of methods need a forgetting score, and {FEWEST_FOR_SCORE} models or more"
            )
        return self

    @classmethod
    @abstractmethod
    def task_from(cls, name: str, folder: str | None) -> BenchTask:
        """A built-in task by its name, with the folder of its images."""

    @classmethod
    @abstractmethod
    def defaults_of(cls, name: str) -> Mapping[str, JsonValue]:
        """Settings of the benchmark that a built-in task brings along."""

    @classmethod
    @abstractmethod
    def method_of(cls, section: Section) -> tuple[Method, dict[str, JsonValue], list[str]]:
        """The method of a section, what stands beside its settings, and how a label tells that; raises `InputError`."""

    def written_out(self, section: Section) -> Section:
        """A method's section as it is carried out, with what a preset stands for; raises `InputError`."""
        return section

    @property
    def scored(self) -> bool:
        """Whether there are enough models for a forgetting score."""
        return self.models >= FEWEST_FOR_SCORE

    @property
    def all_setups(self) -> tuple[Setup, ...]:
        """The headline first, each once."""
        return tuple(dict.fromkeys((self.headline, *self.setups)))

    def experiments(self, setup: Setup) -> int:
        """How many experiments a setup has."""
        return self.originals if setup in ("reuse-n-1", "bootstrap") else self.repeats

    def experiments_of(self, setup: Setup, section: Section) -> list[Experiment]:
        """The experiments of a method's section."""
        method, _, _ = self.method_of(section)
        return experiments(
            setup,
            section,
            self.models,
            self.experiments(setup),
            seed=self.seed,
            # with a score twice as many, for its ceiling
            retrained_for_each=RETRAINED_FOR_EACH if self.scored else 1,
            deterministic=method.deterministic,
        )

    def without_paths(self) -> dict[str, JsonValue]:
        """The config as it may be published: of paths only their last part."""
        return {**self.as_dict(), "tasks": {name: task.without_paths() for name, task in self.tasks.items()}}


@dataclass(frozen=True)
class MethodEntry:
    """A method in a table: its label, its section (name and all settings), and the method itself."""

    label: str
    section: dict[str, JsonValue]
    method: Method


def read_bench(
    kind: type[BenchConfig],
    source: str | Path,
    values: Section | None = None,
    overrides: Iterable[str] = (),
    data: str | None = None,
) -> BenchConfig:
    """A benchmark from a YAML file, or by the name of a built-in task.

    A file has the settings of `BenchConfig`, but `task` in place of `tasks` (a name or a section), and perhaps `vary`:
    names, each with what it changes of the task. values: settings in place of those; overrides: `key=value` texts,
    which win. data: the folder of the images, put in the place of `DATA`, else as their path. Raises one `InputError`
    with all faults.
    """
    where, overrides, values = f"the benchmark {source}", list(overrides), values or {}
    is_file = str(source).endswith((".yaml", ".yml")) or Path(source).is_file()
    settings: dict[str, Any] = read_yaml(Path(source)) if is_file else {"task": str(source)}
    if isinstance(name := settings.get("task"), str):
        settings = {**kind.defaults_of(name), **settings, "task": kind.task_from(name, data).as_dict()}
        data = None
    settings = {**settings, **values}
    tunes = [text for text in overrides if text.startswith("tuning.")]
    if tunes and "tuning" in values and values["tuning"] is None:
        raise InputError("no tuning, and a setting of tuning, exclude each other; leave one of them out")
    if tunes and settings.get("tuning", {}) is None:
        settings["tuning"] = {}
    settings = with_overrides(settings, overrides)
    if not isinstance(settings.get("task"), Mapping):
        raise InputError(f"{where}: it names no task; add a section `task`, or for example `task: digits`")
    valid = ["task", "vary", *(field for field in kind.model_fields if field != "tasks")]
    if unknown := sorted(settings.keys() - set(valid)):
        raise InputError(*(unknown_name("setting", name, valid) for name in unknown), what=where)
    base, vary = settings.pop("task"), settings.pop("vary", None)
    return kind.read({**settings, "tasks": _tasks(kind, base, vary, data, where)}, where=where)


def check_base(config: BenchConfig, task: BenchTask) -> None:
    """Raise `InputError` if a method asks the task's base, and it has none."""
    asking = [one.label for one in entries(config) if one.method.asks_base]
    if asking and task.base is None:
        raise InputError(
            f"methods: {', '.join(asking)}: they ask the task's base, and it has none; give `base` in it"
        )


def entries(config: BenchConfig) -> list[MethodEntry]:
    """The methods of a benchmark with their default settings, or those of their section; one error for all faults."""
    table: Mapping[str, type[Method]] = GENERATOR_METHODS
    others: Mapping[str, type[Method]] = CLASSIFIER_METHODS
    if config.kind == "classifiers":
        table, others = others, table
    chosen: Sequence[str | dict[str, JsonValue]] = (
        [name for name in table if name != REFERENCE_METHOD] if config.methods == "all" else config.methods
    )
    made: list[MethodEntry] = []
    with Faults("these methods cannot be compared") as faults:
        for given in chosen:
            section = {"name": given} if isinstance(given, str) else given
            name = str(section.get("name"))
            if name in others and name not in table:
                faults.add(f"methods: {name}: not for {config.kind}, whose methods are {', '.join(table)}")
                continue
            try:
                made.append(entry(config, section))
            except InputError as error:
                faults.problems += error.problems
        if not chosen:
            faults.add("methods: none given; name some, or write all")
        labels = [one.label for one in made]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            faults.add(f"methods: {label} stands there twice; give one of them another `label`")
    return made


def entry(config: BenchConfig, section: Section) -> MethodEntry:
    """A method from its section. Settings that differ from its defaults show in its label."""
    section = config.written_out(section)
    values = {name: value for name, value in section.items() if name != "label"}
    method, beside, told = config.method_of(values)
    settings = method.as_dict()
    # the fields' own defaults: a method of another package may have settings that must be given
    default = type(method).model_construct().model_dump(mode="json", warnings=False)
    changed = [
        name if isinstance(value, Mapping) else f"{name}={value}"
        for name, value in settings.items()
        if name not in default or value != default[name]
    ]
    label = method.name + (f" ({', '.join([*changed, *told])})" if changed or told else "")
    return MethodEntry(
        str(section.get("label") or label), {"name": method.name, **settings, **beside}, method
    )


def shared_runs(config: BenchConfig, setups: Iterable[Setup]) -> list[PoolRun]:
    """Originals and retrained models of these setups, each once: no method adds to them."""
    runs: dict[PoolRun, None] = {}
    for setup in setups:
        for experiment in config.experiments_of(setup, {"name": REFERENCE_METHOD}):
            runs.update(dict.fromkeys((*experiment.original, *experiment.retrained)))
    return list(runs)


def unlearned_runs(config: BenchConfig, setups: Iterable[Setup], section: Section) -> list[PoolRun]:
    """The unlearned models of a method's section in these setups, each once."""
    runs = (
        run
        for setup in setups
        for experiment in config.experiments_of(setup, section)
        for run in experiment.unlearned
    )
    return list(dict.fromkeys(runs))


def default_runs(config: BenchConfig, methods: Sequence[MethodEntry]) -> list[PoolRun]:
    """Originals, retrained models, and all methods with their default settings, in all setups."""
    setups = config.all_setups
    return [
        *shared_runs(config, setups),
        *(run for method in methods for run in unlearned_runs(config, setups, method.section)),
    ]


def merged(base: Section, changes: Section) -> dict[str, Any]:
    """`base` with `changes` in place of its entries, section by section."""
    made = dict(base)
    for name, value in changes.items():
        inner = made.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        made[name] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return made


def _tasks(
    kind: type[BenchConfig], base: Section, vary: object, data: str | None, where: str
) -> dict[str, BenchTask]:
    changes = {"": {}} if vary is None else vary
    if not (
        isinstance(changes, Mapping) and all(isinstance(one, Mapping | None) for one in changes.values())
    ):
        raise InputError(
            f"{where}: vary: names are needed, each with a section of what it changes of the task"
        )
    tasks: dict[str, BenchTask] = {}
    with Faults(f"{where} cannot be used") as faults:
        for name, changed in changes.items():
            try:
                task = kind.task_type.from_values(with_data(merged(base, changed or {}), data))
                tasks[str(name) or task.images.name] = task
            except InputError as error:
                faults.problems += [f"{name}: {problem}" if name else problem for problem in error.problems]
    return tasks
