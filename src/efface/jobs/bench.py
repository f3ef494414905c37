"""`bench`: the tables of methods, for classifiers and for generators, from a config to results that others can check.

Every run is skipped where it is there already, so the same call continues after any end, and a config with more methods
or models in the same folder adds to what was done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from efface.benchmark.config import (
    REFERENCE_METHOD,
    BenchConfig,
    MethodEntry,
    default_runs,
    entries,
    shared_runs,
    unlearned_runs,
)
from efface.benchmark.costing import cost_after, cost_before, counts_of, timings_of
from efface.benchmark.engines import Engine, engine_named
from efface.benchmark.kinds import kind_of
from efface.benchmark.pool import Pool
from efface.benchmark.purging import POOLS
from efface.benchmark.results import (
    SCHEMA,
    BenchCost,
    BenchResults,
    CostBefore,
    RunCount,
    TaskResults,
    TrialOutcome,
    write_bench_results,
)
from efface.benchmark.runs import PoolRun
from efface.benchmark.tables import TaskTables
from efface.benchmark.tuning import best, outcome_of, trials, tuning_runs
from efface.devices import find_device
from efface.documents import read_object, yaml_text
from efface.errors import EffaceError, Faults, InputError, RunRefused, Stopped
from efface.files import NO_LOCKS_NOTE, private_files, write_json, write_text
from efface.progress import Progress
from efface.reports.bench_page import write_bench_page
from efface.reports.bench_tables import write_csv, write_markdown
from efface.runs.environment import environment
from efface.runs.erasing import sweep
from efface.runs.folder import hold, refuse_taken
from efface.runs.temporary import temporary_folder
from efface.settings import Settings
from efface.wording import counted, duration

LIMIT_FILE = "limit.json"


class KeptLimit(Settings):
    """The limit with which a pool was begun: a share of retraining, and its seconds."""

    share: float | None
    seconds: float | None


@dataclass(frozen=True)
class BenchOutcome:
    """Where a benchmark's files lie, and what it found."""

    out: Path
    results: BenchResults

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.out / "report.html"


def estimate(config: BenchConfig, out: Path | None = None) -> CostBefore:
    """What the benchmark costs; steps are timed, nothing is trained.

    out: where the timing is kept; None keeps nothing, and is refused for a cluster. Raises `InputError`.
    """
    if out is None and engine_named(config.engine).on_cluster:
        raise InputError(
            f"the engine {config.engine} needs a folder for the estimate too (--out): workers on other machines time the "
            "steps, and must see where they write"
        )
    if out is None:
        with temporary_folder() as folder:
            return estimate(config, folder)
    methods, engine = _checked(config), engine_named(config.engine, out / "jobs", config.device)
    return cost_before(config, methods, timings_of(config, methods, out, engine), engine.workers)


def bench(
    config: BenchConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    with_pictures: bool = False,
    retry_failed: bool = False,
) -> BenchOutcome:
    """Carry out a benchmark in the folder `out`; the same call continues it.

    with_pictures: of generators, also write `pictures.html`, which shows forgotten images, and maps of embeddings.
    retry_failed: remove what is kept of lasting failures first, so that those runs are tried again. Raises
    `InputError`, `RunRefused` where `out` holds other tasks or another limit of time, and `Stopped`.
    """
    methods, engine = _checked(config), engine_named(config.engine, Path(out) / "jobs", config.device)
    if with_pictures:
        _refuse_without_pictures(config)
    # before anything is written over, or trained that could not be used
    refuse_taken(out)
    with ExitStack() as held:
        held.enter_context(private_files())
        locked = hold(Path(out), held)
        spoken = (progress or Progress()).logging_to(Path(out) / "log.jsonl")
        if not locked:
            spoken.say(f"note: {NO_LOCKS_NOTE.format(out)}")
        if not engine.on_cluster:
            # there, workers of a driver that was killed may still be writing
            sweep(Path(out))
        return _carry_out(config, methods, engine, Path(out), spoken, with_pictures, retry_failed)


def _carry_out(
    config: BenchConfig,
    methods: list[MethodEntry],
    engine: Engine,
    out: Path,
    spoken: Progress,
    with_pictures: bool,
    retry_failed: bool,
) -> BenchOutcome:
    """The benchmark in a folder that is held."""
    began = time.monotonic()
    pools = {
        name: Pool(out / POOLS / folder_of(name), task, kind_of(config))
        for name, task in config.tasks.items()
    }
    for pool in pools.values():
        _kept_limit(pool, config)
    if retry_failed:
        dropped = [path for pool in pools.values() for path in pool.drop_failures()]
        spoken.say(
            counted(len(dropped), "lasting failure is", "lasting failures are")
            + " removed, to be tried again"
        )
        spoken.log(
            "failures removed", files=[path.relative_to(out.absolute()).as_posix() for path in dropped]
        )
    write_text(out / "config.yaml", yaml_text(config.as_dict()))
    before = cost_before(config, methods, timings_of(config, methods, out, engine), engine.workers)
    spent = _spent_before(out)

    def seconds() -> float:
        return spent + time.monotonic() - began

    def keep(cost: BenchCost) -> None:
        write_json(out / "cost.json", cost.as_dict())

    keep(BenchCost(before=before, wall_seconds=spent))
    spoken.say(in_words(before))
    if note := idle_gpu(engine):
        spoken.say(note)
    each = [
        _OneTask(config, methods, pool, engine, spoken, f"{name}: " if len(pools) > 1 else "")
        for name, pool in pools.items()
    ]
    try:
        tasks = {name: one.results(with_pictures) for name, one in zip(pools, each, strict=True)}
    finally:
        keep(BenchCost(before=before, wall_seconds=seconds()))
    cost = BenchCost(before=before, after=cost_after([one.counts() for one in each]), wall_seconds=seconds())
    results = BenchResults(
        schema=SCHEMA,
        kind=config.kind,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        models=config.models,
        headline=config.headline,
        confidence=config.confidence,
        scored=config.scored,
        statistic=getattr(config, "statistic", None),
        time_limit=config.time_limit,
        tuned=_budget(config),
        measures=list({measure.name: measure for one in each for measure in one.measures}.values()),
        tasks=tasks,
        cost=cost,
        machine=environment(),
        config=config.without_paths(),
    )
    keep(cost)
    if not config.keep_weights:
        spoken.log("weights removed", files=sum(pool.drop_weights() for pool in pools.values()))
    write_bench_results(results, out)
    write_csv(results, out)
    write_markdown(results, out)
    write_bench_page(results, out)
    return BenchOutcome(out, results)


def in_words(before: CostBefore) -> str:
    """The cost of a benchmark in a sentence."""
    total, workers = before.total, before.workers
    most = "at most " if "tuned_at_most" in before.parts else ""
    return (
        f"{total.originals} originals, {total.retrained} retrained and {most}{total.unlearned} unlearned models: {most}"
        f"about {duration(total.seconds)} of one worker"
        + (f", {duration(total.seconds / workers)} with {workers} at a time" if workers > 1 else "")
    )


def idle_gpu(engine: Engine) -> str | None:
    """A note where this machine has a GPU and the engine gives none to its tasks."""
    import torch

    if engine.uses_gpu or not torch.cuda.is_available():
        return None
    how = f"{engine.name}@gpu=0.25" if engine.name == "ray" else f"{engine.name}@gpu=1"
    return (
        f"note: this machine has a GPU, and the engine {engine.name} uses none; "
        f"{how if engine.on_cluster else 'processes:6@cuda:0'} would"
    )


def folder_of(name: str) -> str:
    """The folder of a task's pool."""
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)


@dataclass
class _OneTask:
    """One task under way: its pool, why runs failed, the limit once retraining was timed, and the trials of methods."""

    config: BenchConfig
    methods: Sequence[MethodEntry]
    pool: Pool[Any]
    engine: Engine
    progress: Progress
    prefix: str
    errors: dict[PoolRun, str] = field(default_factory=dict)
    limit: float | None = None
    outcomes: dict[str, list[TrialOutcome]] = field(default_factory=dict)

    def results(self, with_pictures: bool) -> TaskResults:
        """All runs, part after part, and what was measured on them."""
        config = self.config
        shared = shared_runs(config, config.all_setups)
        tuned = tuning_runs(config, self.methods)
        needed = [*shared, *(run for run in tuned if run.kind != "unlearned")]
        self._fill(needed, "originals and retrained models")
        missing = [run for run in needed if not self.pool.has(run)]
        if missing:
            raise Stopped(
                f"{self.prefix}{len(missing)} originals or retrained models failed, and without them nothing can be "
                f"compared: {self.errors.get(missing[0], 'no reason is known')}"
            )
        self.limit = self._limit()
        self._fill(default_runs(config, self.methods), "unlearning")
        reader = kind_of(config).reader(config, self.pool)
        self.measures = reader.measures
        if tuned:
            self._fill(tuned, "tuning")
            self.outcomes = {
                method.label: [outcome_of(trial, reader, config, self.errors) for trial in made]
                for method in self.methods
                if (made := trials(method, config))
            }
            self._fill(self._tuned_runs(), "unlearning as tuned")
        tables = TaskTables(config, reader, self.methods, self.outcomes, self.errors)
        return tables.results(
            self.limit, self.progress, self.pool.folder.parents[1] if with_pictures else None
        )

    def counts(self) -> dict[str, RunCount]:
        """What was done, in runs and their measured seconds."""
        parts = {"default": default_runs(self.config, self.methods)}
        if self.config.tuning:
            parts |= {"tuning": tuning_runs(self.config, self.methods), "tuned": self._tuned_runs()}
        there = {name: [run for run in runs if self.pool.has(run)] for name, runs in parts.items()}
        return counts_of(there, lambda run: self.pool.spent(run).seconds)

    def _fill(self, runs: Iterable[PoolRun], name: str) -> None:
        parts: dict[float | None, list[PoolRun]] = {}
        for run in runs:
            # the reference among the methods takes a whole retraining by its nature
            is_free = run.kind != "unlearned" or run.section["name"] == REFERENCE_METHOD
            parts.setdefault(None if is_free else self.limit, []).append(run)
        for limit, some in parts.items():
            failures = self.pool.fill(some, self.engine, self.progress, limit=limit, name=self.prefix + name)
            self.errors |= {failure.run: failure.told for failure in failures}

    def _limit(self) -> float | None:
        """Seconds that unlearning may take; the first start decides, or the same run could be cut or not."""
        if kept := _kept_limit(self.pool, self.config):
            return kept[1]
        share = self.config.time_limit
        retrained = [
            run for run in shared_runs(self.config, [self.config.headline]) if run.kind == "retrained"
        ]
        seconds = None if share is None else share * self.pool.seconds(retrained)
        limit = KeptLimit(share=share, seconds=seconds)
        write_json(self.pool.folder / LIMIT_FILE, limit.as_dict())
        return seconds

    def _tuned_runs(self) -> list[PoolRun]:
        won = [winner for tried in self.outcomes.values() if (winner := best(tried))]
        return [
            run for one in won for run in unlearned_runs(self.config, [self.config.headline], one.section)
        ]


def _checked(config: BenchConfig) -> list[MethodEntry]:
    """The methods, once it is known that data and models fit: what is wrong is said before anything is written."""
    methods, kind = entries(config), kind_of(config)
    folders = list(map(folder_of, config.tasks))
    with Faults("this benchmark cannot start") as faults:
        for device in engine_named(config.engine, on=config.device).devices:
            faults.tried(find_device, device)
        for name, task in config.tasks.items():
            if folders.count(folder_of(name)) > 1:
                faults.add(f"vary: {name!r}: its runs would lie in the folder of another task; rename it")
            try:
                kind.check(config, task)
            except InputError as error:
                faults.problems += [
                    f"{name}: {problem}" if len(config.tasks) > 1 else problem for problem in error.problems
                ]
            except EffaceError as error:
                faults.add(f"{name}: {error}")
    return methods


def _refuse_without_pictures(config: BenchConfig) -> None:
    """Raise `InputError` where pictures are to be shown that no run would keep."""
    lacking = [name for name, task in config.tasks.items() if not getattr(task, "pictures", 0)]
    if lacking:
        raise InputError(
            f"--with-pictures: runs of {', '.join(lacking)} keep no restored pictures, which show what is to be "
            "forgotten; ask for them with --set task.pictures=8, in a new folder"
        )


def _kept_limit(pool: Pool[Any], config: BenchConfig) -> tuple[float | None, float | None] | None:
    """Share and seconds of the limit with which a pool was begun, None where it has none yet; another one is refused."""
    note = pool.folder / LIMIT_FILE
    if not note.exists():
        return None
    limit = KeptLimit.read(read_object(note), where=str(note))
    if limit.share != config.time_limit:
        raise RunRefused(
            f"{pool.folder} holds runs with the time limit {limit.share}, not {config.time_limit}; choose another "
            "folder, or the old limit"
        )
    return limit.share, limit.seconds


def _budget(config: BenchConfig) -> str | None:
    tuning = config.tuning
    return f"{counted(tuning.trials, 'trial')} of {counted(tuning.models, 'model')}" if tuning else None


def _spent_before(out: Path) -> float:
    """Seconds of earlier starts."""
    path = out / "cost.json"
    if not path.exists():
        return 0.0
    return BenchCost.model_validate_json(path.read_text(encoding="utf-8")).wall_seconds
