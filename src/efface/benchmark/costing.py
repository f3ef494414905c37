"""What a benchmark costs: before it runs (steps counted, and timed where runs are carried out) and after it (measured)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from efface.benchmark.config import BenchConfig, MethodEntry, default_runs, shared_runs, unlearned_runs
from efface.benchmark.engines import Engine
from efface.benchmark.kind import BenchKind
from efface.benchmark.kinds import kind_of
from efface.benchmark.results import CostAfter, CostBefore, RunCount
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import count_of
from efface.benchmark.tasks import BenchTask
from efface.benchmark.timing import Timing, TimingJob
from efface.benchmark.tuning import trials, tuning_runs
from efface.documents import read_object
from efface.errors import Stopped
from efface.files import canonical_json, sha256_of_json, write_json
from efface.settings import validated

Part = Mapping[str, Sequence[PoolRun]]
"""Runs by what they are for."""


def time_steps(
    folder: Path, task: BenchTask, kind: BenchKind[object], sections: Iterable[str], engine: Engine
) -> Timing:
    """Time a few steps with the workers of `engine`, all at once, and count those of all methods; kept in `folder`.

    Raises `Stopped` where the worker fails, or where its file does not arrive here.
    """
    # workers write their parts from wherever they stand
    folder, sections = Path(folder).absolute(), tuple(sections)
    digest = sha256_of_json([task.as_dict(), engine.facts(), *sections])
    file = folder / f"timing-{digest[:10]}.json"
    if not file.exists():
        # workers slow each other down, so they are timed together
        parts = [file.with_suffix(f".{place}") for place in range(engine.workers)]
        task_text = canonical_json(task.with_whole_path().as_dict())
        jobs = [TimingJob(str(part), task_text, sections) for part in parts]
        for outcome in engine.run(kind.time_steps, jobs, lambda job: Path(job.file).exists()):
            if outcome.error:
                raise Stopped(f"the steps of this task cannot be timed: {outcome.error}")
        each = [_timing(part) for part in parts]
        means = {name: fmean(getattr(one, name) for one in each) for name in ("step_seconds", "run_seconds")}
        write_json(file, each[0].model_copy(update=means).as_dict())
        for part in parts:
            part.unlink()
    return _timing(file)


def _timing(file: Path) -> Timing:
    return validated(Timing, read_object(file), f"{file} cannot be used; remove it")


def timings_of(
    config: BenchConfig, methods: Sequence[MethodEntry], out: Path, engine: Engine
) -> dict[str, Timing]:
    """The timing of each task: steps of all runs, default and of trials, and their seconds with this engine."""
    sections = [canonical_json(method.section) for method in methods]
    sections += [canonical_json(trial.section) for method in methods for trial in trials(method, config)[1:]]
    return {
        name: time_steps(out, task, kind_of(config), sections, engine) for name, task in config.tasks.items()
    }


def cost_before(
    config: BenchConfig, methods: Sequence[MethodEntry], timings: Mapping[str, Timing], workers: int
) -> CostBefore:
    """Models to be trained and unlearned; the tuned runs are those of each method's dearest trial."""
    parts: list[dict[str, RunCount]] = []
    alone: list[dict[str, RunCount]] = []
    for timing in timings.values():

        def seconds(run: PoolRun, timing: Timing = timing) -> float:
            return timing.seconds(run, config.time_limit)

        runs: dict[str, Sequence[PoolRun]] = {"default": default_runs(config, methods)}
        if config.tuning:
            runs["tuning"] = tuning_runs(config, methods)
            runs["tuned_at_most"] = _dearest_runs(config, methods, seconds)
        parts.append(counts_of(runs, seconds))
        alone.append(
            {setup: count_of(_runs_of(config, methods, setup), seconds) for setup in config.all_setups}
        )
    total = _added(parts)
    return CostBefore(
        total=total.pop("total"),
        parts=total,
        setups_alone=_added(alone),
        workers=workers,
        uncounted={name: why for timing in timings.values() for name, why in sorted(timing.errors.items())},
    )


def cost_after(parts: Sequence[dict[str, RunCount]]) -> CostAfter:
    """What was done, from `counts_of` of each task."""
    total = _added(parts)
    return CostAfter(total=total.pop("total"), parts=total)


def counts_of(parts: Part, seconds: Callable[[PoolRun], float]) -> dict[str, RunCount]:
    """Of each part, runs of an earlier part not counted a second time, and of all under `total`."""
    counted: dict[PoolRun, None] = {}
    counts = {}
    for name, runs in parts.items():
        new = [run for run in dict.fromkeys(runs) if run not in counted]
        counted |= dict.fromkeys(new)
        counts[name] = count_of(new, seconds)
    return {**counts, "total": count_of(counted, seconds)}


def _runs_of(config: BenchConfig, methods: Sequence[MethodEntry], setup: str) -> list[PoolRun]:
    only = [one for one in config.all_setups if one == setup]
    unlearned = (run for method in methods for run in unlearned_runs(config, only, method.section))
    return [*shared_runs(config, only), *unlearned]


def _dearest_runs(
    config: BenchConfig, methods: Sequence[MethodEntry], seconds: Callable[[PoolRun], float]
) -> list[PoolRun]:
    """The tuned runs if each method's dearest trial won."""
    runs: list[PoolRun] = []
    for method in methods:
        each = [
            unlearned_runs(config, [config.headline], trial.section) for trial in trials(method, config)[1:]
        ]
        dearest: list[PoolRun] = max(each, key=lambda some: seconds(some[0]), default=[])
        runs += dearest
    return runs


def _added(each: Sequence[Mapping[str, RunCount]]) -> dict[str, RunCount]:
    """The counts of all tasks together, by name."""
    return {
        name: RunCount(
            **{field: sum(getattr(one[name], field) for one in each) for field in RunCount.model_fields}
        )
        for name in each[0]
    }
