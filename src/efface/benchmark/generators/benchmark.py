"""What a benchmark of generator methods is: its tasks, its rows, and the runs that they need. Imports no torch.

Seed s stands for an original s, a retrained model s, and, for each method, a model unlearned from original s. Every
figure of the table is a mean over seeds. From `FEWEST_FOR_SCORE` models on there is a forgetting score as well, in the
setup `reuse-n-n`: N models unlearned from N originals against N retrained ones, N more of which give the ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from efface.benchmark.engines import EngineText
from efface.benchmark.generators.runs import BESIDE_METHOD, section_parts
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import Run
from efface.errors import Faults, InputError
from efface.forgetting.comparison import FEWEST_MODELS as FEWEST_FOR_SCORE
from efface.settings import Settings, read_yaml, unknown_name, with_overrides

PAPER_METHODS = ("max-loss", "noisy-label", "retain-label", "random-encoder", "encoder-noise", "fine-tune")
"""The rows of the ICLR 2024 paper beside original and retrained; `encoder-noise` comes with proxy images too."""
Statistic = Literal["log-hole-error", "feature-distance", "task-loss"]
PLACE = "DATA"
"""What stands in a file for the folder of packed images."""
PLAIN = "as configured"
"""The name of a benchmark's task where nothing is varied."""


class GeneratorBenchConfig(Settings):
    """A benchmark of generators: tasks, methods, how many models, and where it is carried out."""

    tasks: Mapping[str, SerializeAsAny[GeneratorTask]] = Field(description="the tasks by name")
    methods: tuple[str | dict[str, Any], ...] = Field(
        description="names and sections; `retain: 0.5` or `retain: proxy` in a section for fewer retain images"
    )
    models: int = Field(3, ge=2, description="N: seeds of each row; from 8 on there is a forgetting score")
    statistic: Statistic = Field(
        "log-hole-error", description="what the forgetting score reads of each forgotten image"
    )
    engine: EngineText = Field("processes", description="where runs are carried out, for example processes:4")
    seed: int = Field(0, ge=0, description="seed of resampling and of scores")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of intervals")

    @field_validator("methods", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping) else value

    @model_validator(mode="after")
    def _statistic_is_kept(self) -> Self:
        without = [name for name, task in self.tasks.items() if not task.task_loss]
        if self.statistic == "task-loss" and without:
            raise ValueError(
                f"statistic: task-loss needs `task_loss: true` in the task ({', '.join(without)})"
            )
        return self

    @property
    def scored(self) -> bool:
        """Whether there are enough models for a forgetting score."""
        return self.models >= FEWEST_FOR_SCORE

    @property
    def retrained(self) -> int:
        """Retrained models: with a score twice as many, for its ceiling."""
        return 2 * self.models if self.scored else self.models


@dataclass(frozen=True)
class Entry:
    """A row's method: its label and its section, all settings written out."""

    label: str
    section: dict[str, Any]


def generator_bench_config(
    path: str | Path,
    values: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    data: str | None = None,
) -> GeneratorBenchConfig:
    """A benchmark from a YAML file: `task`, perhaps `vary` (a name, and what it changes of the task), and settings.

    values: settings in place of those; overrides: `key=value` texts, which win. data: the folder of packed images, put
    in the place of `DATA` in `task.images.data`. Raises one `InputError` with all faults.
    """
    settings = with_overrides({**read_yaml(Path(path)), **(values or {})}, overrides)
    where = f"the benchmark {path}"
    if not isinstance(settings.get("task"), Mapping):
        raise InputError(f"{where}: a section `task` is needed")
    base, vary = settings.pop("task"), settings.pop("vary", None) or {PLAIN: {}}
    if not (isinstance(vary, Mapping) and all(isinstance(one, Mapping | None) for one in vary.values())):
        raise InputError(
            f"{where}: vary: names are needed, each with a section of what it changes of the task"
        )
    if data is not None and PLACE not in str([base, vary]):
        what = f"nothing in it is to be replaced by {data}"
        raise InputError(f"{where}: {what}; write {PLACE} in images.data, or leave --data out")
    if unknown := sorted(
        settings.keys() - GeneratorBenchConfig.model_fields.keys() | settings.keys() & {"tasks"}
    ):
        valid = ["task", "vary", *(name for name in GeneratorBenchConfig.model_fields if name != "tasks")]
        raise InputError(*(unknown_name("setting", name, valid) for name in unknown), what=where)
    tasks: dict[str, GeneratorTask] = {}
    with Faults(f"{where} cannot be used") as faults:
        for name, changes in vary.items():
            try:
                tasks[str(name)] = GeneratorTask.from_values(_with_data(merged(base, changes or {}), data))
            except InputError as error:
                faults.problems += [f"{name}: {problem}" for problem in error.problems]
        if not faults:
            return GeneratorBenchConfig.read({**settings, "tasks": tasks}, where=where)
    raise AssertionError("faults are raised above")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` in place of its entries, section by section."""
    found = dict(base)
    for name, value in changes.items():
        inner = found.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[name] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return found


def entries(config: GeneratorBenchConfig) -> list[Entry]:
    """The methods of a benchmark; one `InputError` for all faults."""
    found: list[Entry] = []
    with Faults("these methods cannot be compared") as faults:
        for one in config.methods:
            section = {"name": one} if isinstance(one, str) else dict(one)
            label = str(section.pop("label", "")) or None
            try:
                found.append(_entry(section, label))
            except InputError as error:
                faults.problems += error.problems
        labels = [one.label for one in found]
        for label in sorted({one for one in labels if labels.count(one) > 1}):
            faults.add(f"methods: {label} stands there twice; give one of them another `label`")
        if not config.methods:
            faults.add("methods: none given")
    return found


def originals(config: GeneratorBenchConfig) -> list[Run]:
    """One a seed."""
    return [Run("original", seed) for seed in range(config.models)]


def retrained(config: GeneratorBenchConfig) -> list[Run]:
    """One a seed, and with a score as many again."""
    return [Run("retrained", seed) for seed in range(config.retrained)]


def unlearned(config: GeneratorBenchConfig, entry: Entry) -> list[Run]:
    """One from each original."""
    return [Run.unlearned(entry.section, seed, 0) for seed in range(config.models)]


def _entry(section: Mapping[str, Any], label: str | None) -> Entry:
    method, training, share = section_parts(section)
    whole: dict[str, Any] = {"name": method.name, **method.as_dict()}
    published = type(method).model_construct().model_dump(mode="json", warnings=False)
    changed = [
        name if isinstance(value, Mapping) else f"{name}={value}"
        for name, value in method.as_dict().items()
        if value != published.get(name)
    ]
    changed += [f"{name}={value}" for name, value in training.items()]
    if training:
        whole["training"] = training
    if share != 1.0:
        whole["retain"] = share
        changed.append("proxy retain" if share == "proxy" else f"{share:.0%} of retain")
    assert set(whole) - set(method.as_dict()) <= {"name", *BESIDE_METHOD}
    return Entry(label or method.name + (f" ({', '.join(changed)})" if changed else ""), whole)


def _with_data(task: dict[str, Any], folder: str | None) -> dict[str, Any]:
    images = task.get("images")
    if not isinstance(images, Mapping) or PLACE not in str(images.get("data", "")):
        return task
    if folder is None:
        raise InputError(f"images: {images['data']}: give the folder in place of {PLACE} with --data")
    return {**task, "images": {**images, "data": str(images["data"]).replace(PLACE, folder)}}
