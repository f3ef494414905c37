"""`bench generators`: the tables of generator methods, from a config to results that others can check.

Every run is skipped where it is there already, so the same call continues after any end, and a config with more methods
or models in the same folder adds to what was done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from efface.benchmark.engines import Engine, engine_named
from efface.benchmark.generators.benchmark import (
    Entry,
    GeneratorBenchConfig,
    entries,
    originals,
    retrained,
    unlearned,
)
from efface.benchmark.generators.data import GeneratorData, open_images
from efface.benchmark.generators.runs import GENERATORS, GeneratorOutputs
from efface.benchmark.generators.strength import fills_of
from efface.benchmark.generators.table import Row, Table, by_distance, sets_measured
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.errors import EffaceError, InputError, Stopped
from efface.evaluation.fills import CLEARLY
from efface.files import canonical_json, sha256_of_json, write_json, write_text
from efface.jobs.benchmark import BenchResult, spent_before
from efface.methods.registry import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.progress import Progress
from efface.reports.generator_benchmark_page import write_generator_benchmark
from efface.runs.environment import environment
from efface.runs.folder import refuse_taken

SCHEMA = 1
TIMED_STEPS = 12


@dataclass(frozen=True)
class Cost:
    """How many models a benchmark trains and unlearns, and the seconds of one worker that they take."""

    originals: int
    retrained: int
    unlearned: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return dict(vars(self))


def estimate(config: GeneratorBenchConfig) -> Cost:
    """What the benchmark costs on one worker: a few steps of each task are timed, nothing is kept. Raises `InputError`."""
    chosen = _checked(config)
    total = Cost(0, 0, 0, 0.0)
    for task in config.tasks.values():
        one = _estimated(config, task, len(chosen))
        total = Cost(*(getattr(total, name) + getattr(one, name) for name in vars(total)))
    return total


def bench_generators(
    config: GeneratorBenchConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    with_pictures: bool = False,
    retry_failed: bool = False,
) -> BenchResult:
    """Carry out a benchmark in the folder `out`; the same call continues it.

    with_pictures: also write `pictures.html`, which shows forgotten images. retry_failed: try runs again that are kept
    as failed. Raises `InputError`, `RunRefused` where `out` holds other tasks, and `Stopped`.
    """
    began, out = time.monotonic(), Path(out)
    chosen, engine = _checked(config), engine_named(config.engine, out / "jobs")
    refuse_taken(out, "pool")
    pools = {
        name: Pool(out / "pools" / _folder(name), task, GENERATORS) for name, task in config.tasks.items()
    }
    spoken = (progress or Progress()).logging_to(out / "log.jsonl")
    write_text(out / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
    if retry_failed:
        for pool in pools.values():
            pool.drop_failures()
    cost = estimate(config)
    spoken.say(in_words(cost, engine))
    spent = spent_before(out)
    try:
        found = {
            name: _one_task(config, task, chosen, pools[name], engine, spoken, name)
            for name, task in config.tasks.items()
        }
    finally:
        seconds = spent + time.monotonic() - began
        write_json(out / "cost.json", {"before": cost.as_dict(), "wall_seconds": seconds})
    results = {
        "schema": SCHEMA,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": config.models,
        "scored": config.scored,
        "statistic": config.statistic,
        "confidence": config.confidence,
        "tasks": found,
        "cost": {"before": cost.as_dict(), "wall_seconds": seconds},
        "machine": environment().as_dict(),
        "config": without_paths(config),
    }
    write_json(out / "results.json", results)
    write_generator_benchmark(results, out, pools if with_pictures else None)
    return BenchResult(out, results)


def in_words(cost: Cost, engine: Engine) -> str:
    """The cost of a benchmark in a sentence."""
    from efface.wording import duration

    workers = engine.workers
    return (
        f"{cost.originals} originals, {cost.retrained} retrained and {cost.unlearned} unlearned models: about "
        f"{duration(cost.seconds)} of one worker"
        + (f", {duration(cost.seconds / workers)} with {workers} at a time" if workers > 1 else "")
    )


def without_paths(config: GeneratorBenchConfig) -> dict[str, Any]:
    """The config as results show it: no path of this machine."""
    plain = config.as_dict()
    for task in plain["tasks"].values():
        images = task["images"]
        if images["path"] is not None:
            images["path"] = Path(images["path"]).name
        for name in ("extractor", "similarity"):
            kind, colon, place = (task["evaluation"].get(name) or "").partition(":")
            if colon:
                task["evaluation"][name] = f"{kind}:{Path(place).name}"
    return plain


def _one_task(
    config: GeneratorBenchConfig,
    task: GeneratorTask,
    chosen: Sequence[Entry],
    pool: Pool[GeneratorOutputs],
    engine: Engine,
    progress: Progress,
    name: str,
) -> dict[str, Any]:
    errors: dict[Run, str] = {}

    def fill(runs: Iterable[Run], what: str) -> None:
        told = f"{name}: {what}" if len(config.tasks) > 1 else what
        errors.update({failure.run: failure.told for failure in pool.fill(runs, engine, progress, name=told)})

    shared = [*originals(config), *retrained(config)]
    fill(shared, "originals and retrained models")
    missing = [run for run in shared if not pool.has(run)]
    if missing:
        raise Stopped(
            f"{name}: {len(missing)} originals or retrained models failed, and without them nothing can be compared: "
            f"{errors.get(missing[0], 'no reason is known')}"
        )
    fill([run for entry in chosen for run in unlearned(config, entry)], "unlearning")
    data = open_images(canonical_json(task.with_whole_path().as_dict()))
    table = Table(
        task, data, pool, config.models, config.scored, config.statistic, config.confidence, config.seed
    )
    rows: list[Row] = []
    with progress.task(f"{name}: table", len(chosen) + 2) as told:
        for make in (
            table.doing_nothing,
            table.retraining,
            *(lambda one=one: table.row(one, errors) for one in chosen),
        ):
            rows.append(make())
            told.advance(1)
    return _described(task, data, rows)


def _described(task: GeneratorTask, data: GeneratorData, rows: Sequence[Row]) -> dict[str, Any]:
    references, methods = rows[:2], rows[2:]
    fills = {corruption: fills_of(task, data, corruption) for corruption in task.corruptions}
    weak = {corruption: _is_void(references[0], corruption, found) for corruption, found in fills.items()}
    return {
        "images": {name: len(images) for name, images in data.measured(task).items()},
        "trained_on": {name: len(data.sets[name]) for name in ("forget", "retain")},
        "sets": sets_measured(task, data),
        "corruptions": list(task.corruptions),
        "notes": list(data.notes),
        "fills": fills,
        "void": weak,
        "rows": [row.as_dict() for row in (*references, *by_distance(methods, task.corruptions[0]))],
        "task_sha256": sha256_of_json(task.as_dict()),
    }


def _is_void(original: Row, corruption: str, fills: Mapping[str, float]) -> bool | None:
    """Whether the originals restore unseen images hardly better than filling without a model; None if not known."""
    error = original.measures[corruption].get("hole_mse_neutral")
    if error is None or not fills:
        return None
    return error.value > (1 - CLEARLY) * min(fills.values())


def _checked(config: GeneratorBenchConfig) -> list[Entry]:
    """The methods, once it is known that data and models fit: what is wrong is said before anything is written."""
    from efface.benchmark.generators.runs import new_generator
    from efface.corruptions import parse_corruption
    from efface.errors import Faults

    foreign = [name for name in map(_name, config.methods) if name in CLASSIFIER_METHODS]
    foreign = [name for name in foreign if name not in GENERATOR_METHODS]
    if foreign:
        raise InputError(
            f"methods: {', '.join(foreign)}: for classifiers (`efface bench classifiers`); those for generators are "
            f"{', '.join(GENERATOR_METHODS)}"
        )
    chosen = entries(config)
    folders = list(map(_folder, config.tasks))
    with Faults("this benchmark cannot start") as faults:
        for name, folder in zip(config.tasks, folders, strict=True):
            if folders.count(folder) > 1:
                faults.add(f"vary: {name!r}: its runs would lie in the folder of another task; rename it")
        for name, task in config.tasks.items():
            try:
                open_images(canonical_json(task.with_whole_path().as_dict()))
                generator = new_generator(task)
                for text in task.corruptions:
                    generator.check_corruption(parse_corruption(text))
                generator.sampler_name(task.evaluation.sampler)
            except InputError as error:
                faults.problems += [f"{name}: {problem}" for problem in error.problems]
            except EffaceError as error:
                faults.add(f"{name}: {error}")
    return chosen


def _name(method: str | Mapping[str, Any]) -> str:
    return method if isinstance(method, str) else str(method.get("name"))


def _estimated(config: GeneratorBenchConfig, task: GeneratorTask, methods: int) -> Cost:
    from efface.benchmark.generators.runs import timed_step

    data = open_images(canonical_json(task.with_whole_path().as_dict()))
    step, measuring = timed_step(task, data, TIMED_STEPS)
    if task.relearning:
        # both tries, and after each piece another look at the forget images alone
        looks = 2 * (1 + len(task.relearning.steps))
        measuring += 2 * task.relearning.steps[-1] * step + looks * measuring / 3
    training = step * task.training.steps + measuring
    # a method's step is about a training step; those with a teacher take somewhat more
    unlearning = step * float(task.unlearning.get("steps", task.training.steps)) + measuring
    count = methods * config.models
    total = (config.models + config.retrained) * training + count * unlearning
    return Cost(config.models, config.retrained, count, total)


def _folder(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
