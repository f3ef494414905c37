"""`bench`: the table of classifier methods, from a config to results that others can check.

Every part is skipped where it is there already, so the same call continues after any end, and a config with more
methods or models in the same folder adds to what was done.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from efface.benchmark.benchmark import (
    HEADLINE,
    REFERENCE_METHOD,
    BenchConfig,
    Entry,
    entries,
    shared_runs,
    tuning_reference_runs,
    tuning_starts,
    unlearned_runs,
)
from efface.benchmark.budget import cost_before, costs_of, published_runs, timing_of, tuning_runs
from efface.benchmark.classifiers.runs import CLASSIFIERS, Outputs
from efface.benchmark.engines import Engine, engine_named
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.benchmark.tuning import Tried, best, judge, trials
from efface.errors import InputError, RunRefused, Stopped
from efface.files import write_json, write_text
from efface.jobs.benchmark_results import Measured
from efface.progress import Progress
from efface.reports.benchmark_page import write_benchmark_page
from efface.reports.benchmark_tables import write_csv, write_markdown
from efface.runs.folder import refuse_taken
from efface.wording import duration

LIMIT_FILE = "limit.json"


@dataclass(frozen=True)
class BenchResult:
    """Where a benchmark's files lie, and what `results.json` holds."""

    out: Path
    results: dict[str, Any]

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.out / "report.html"


def estimate(config: BenchConfig, out: Path | None = None) -> dict[str, Any]:
    """What the benchmark costs, as under `before` in `cost.json`; steps are timed, nothing is trained.

    out: where the timing is kept; None keeps nothing, and is refused for a cluster. Raises `InputError`.
    """
    if out is None and engine_named(config.engine).on_cluster:
        raise InputError(
            f"the engine {config.engine} needs a folder for the estimate too (--out): workers on other machines time the "
            "steps, and must see where they write"
        )
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return estimate(config, Path(folder))
    chosen = _checked(config)
    engine = engine_named(config.engine, out / "jobs")
    return cost_before(config, chosen, timing_of(config, chosen, out, engine))


def bench(
    config: BenchConfig, out: Path, progress: Progress | None = None, *, retry_failed: bool = False
) -> BenchResult:
    """Carry out a benchmark in the folder `out`; the same call continues it.

    retry_failed: remove what is kept of lasting failures first, so that those runs are tried again. Raises
    `InputError`, `RunRefused` where `out` holds another task or another limit of time, and `Stopped`.
    """
    began, out = time.monotonic(), Path(out)
    chosen, engine = _checked(config), engine_named(config.engine, out / "jobs")
    # before anything is written over, or trained that could not be used
    refuse_taken(out, "pools")
    _kept_limit(out, config)
    pool = Pool(out / "pool", config.task, CLASSIFIERS)
    spoken = (progress or Progress()).logging_to(out / "log.jsonl")
    if retry_failed:
        dropped = pool.drop_failures()
        spoken.say(f"{len(dropped)} lasting failures are removed, to be tried again")
        spoken.log("failures removed", files=[path.relative_to(pool.folder).as_posix() for path in dropped])
    write_text(out / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
    before = cost_before(config, chosen, timing_of(config, chosen, out, engine))
    spent = spent_before(out)
    write_json(out / "cost.json", {"before": before, "after": None, "wall_seconds": spent})
    spoken.say(in_words(before))
    if note := idle_gpu(engine):
        spoken.say(note)
    work = _Work(config, chosen, pool, engine, spoken)
    try:
        tuned = work.fill()
    finally:
        write_json(
            out / "cost.json",
            {"before": before, "after": None, "wall_seconds": spent + time.monotonic() - began},
        )
    after = work.after(tuned) | {"wall_seconds": spent + time.monotonic() - began}
    cost = {"before": before, "after": after, "wall_seconds": after["wall_seconds"]}
    measured = Measured(config, chosen, pool, work.errors, tuned)
    results = measured.results(cost, work.limit)
    _write(out, results, tuned)
    return BenchResult(out, results)


def in_words(before: Mapping[str, Any]) -> str:
    """The cost of a benchmark in a sentence."""
    total, workers = before["total_at_most"], before["workers"]
    alone, here = (duration(3600 * hours) for hours in (total["worker_hours"], before["hours_at_most"]))
    return (
        f"{total['originals']} originals, {total['retrained']} retrained and at most {total['unlearned']} unlearned "
        f"models: at most about {alone} of one worker"
        + (f", {here} with {workers} at a time" if workers > 1 else "")
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


class _Work:
    """A benchmark under way: its pool, why runs failed, and the limit in seconds once retraining was timed."""

    def __init__(
        self,
        config: BenchConfig,
        chosen: Sequence[Entry],
        pool: Pool[Outputs],
        engine: Engine,
        progress: Progress,
    ) -> None:
        self.config, self.chosen = config, chosen
        self.pool, self.engine, self.progress = pool, engine, progress
        self.errors: dict[Run, str] = {}
        self.limit: float | None = None

    def fill(self) -> dict[str, list[Tried]]:
        """All runs, part after part; the trials of each method that has any."""
        config = self.config
        shared = shared_runs(config, config.all_setups)
        references = tuning_reference_runs(config)
        self._fill([*shared, *references], "originals and retrained models")
        missing = [run for run in (*shared, *references) if not self.pool.has(run)]
        if missing:
            raise Stopped(
                f"{len(missing)} originals or retrained models failed, and without them nothing can be compared: "
                f"{self.errors.get(missing[0], 'no reason is known')}"
            )
        self.limit = self._limit()
        self._fill(published_runs(config, self.chosen), "unlearning as published")
        tuned = self._tune() if config.tuning else {}
        self._fill(self._tuned_runs(tuned), "unlearning as tuned")
        return tuned

    def after(self, tuned: dict[str, list[Tried]]) -> dict[str, Any]:
        """What was done, in runs and their measured seconds."""
        parts = {
            "published": published_runs(self.config, self.chosen),
            "tuning": tuning_runs(self.config, self.chosen),
            "tuned": self._tuned_runs(tuned),
        }
        there = {name: [run for run in runs if self.pool.has(run)] for name, runs in parts.items()}
        costs = costs_of(there, lambda run: self.pool.spent(run).seconds)
        return {name: cost.as_dict() for name, cost in costs.items()}

    def _fill(self, runs: Iterable[Run], name: str) -> None:
        parts: dict[float | None, list[Run]] = {}
        for run in runs:
            # the reference among the methods takes a whole retraining by its nature
            is_free = run.kind != "unlearned" or run.section["name"] == REFERENCE_METHOD
            parts.setdefault(None if is_free else self.limit, []).append(run)
        for limit, some in parts.items():
            failures = self.pool.fill(some, self.engine, self.progress, limit=limit, name=name)
            self.errors |= {failure.run: failure.told for failure in failures}

    def _limit(self) -> float | None:
        """Seconds that unlearning may take; the first start decides, or the same run could be cut or not."""
        folder, share = self.pool.folder.parent, self.config.time_limit
        seconds: float | None
        if kept := _kept_limit(folder, self.config):
            seconds = kept["seconds"]
            return seconds
        retrained = [run for run in shared_runs(self.config, [HEADLINE]) if run.kind == "retrained"]
        seconds = None if share is None else share * self.pool.seconds(retrained)
        write_json(folder / LIMIT_FILE, {"share": share, "seconds": seconds})
        return seconds

    def _tune(self) -> dict[str, list[Tried]]:
        tuning = self.config.tuning
        assert tuning is not None
        tried = {one.label: trials(one, tuning) for one in self.chosen if one.method.space}
        self._fill(tuning_runs(self.config, self.chosen), "tuning")
        return {
            label: [
                judge(trial, self.pool, tuning, tuning_starts(self.config), self.errors) for trial in made
            ]
            for label, made in tried.items()
        }

    def _tuned_runs(self, tuned: dict[str, list[Tried]]) -> list[Run]:
        winners = [winner for tried in tuned.values() if (winner := best(tried))]
        return [run for one in winners for run in unlearned_runs(self.config, [HEADLINE], one.trial.section)]


def _checked(config: BenchConfig) -> list[Entry]:
    """The methods, once it is known that the task's data are there: what is wrong is said before anything is written."""
    from efface.images.datasets import open_dataset

    chosen = entries(config)
    open_dataset(config.task, "score")
    if config.tuning:
        open_dataset(config.task, "tuning")
    return chosen


def _kept_limit(out: Path, config: BenchConfig) -> dict[str, Any] | None:
    """The limit of time with which `out` was begun, None where there is none yet; another one is refused."""
    note = out / LIMIT_FILE
    if not note.exists():
        return None
    kept: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    if kept["share"] != config.time_limit:
        raise RunRefused(
            f"{out} holds runs with the time limit {kept['share']}, not {config.time_limit}; choose another folder, or the "
            "old limit"
        )
    return kept


def _write(out: Path, results: dict[str, Any], tuned: dict[str, list[Tried]]) -> None:
    written = {
        label: {
            "chosen": winner.trial.number if (winner := best(tried)) else None,
            "trials": [one.as_dict() for one in tried],
        }
        for label, tried in tuned.items()
    }
    write_json(out / "tuning.json", written)
    write_json(out / "cost.json", results["cost"])
    write_json(out / "results.json", results)
    write_csv(results, out / "results.csv")
    write_markdown(results, out / "results.md")
    write_benchmark_page(results, out)


def spent_before(out: Path) -> float:
    """Seconds of earlier starts."""
    path = out / "cost.json"
    if not path.exists():
        return 0.0
    return float(json.loads(path.read_text(encoding="utf-8"))["wall_seconds"])
