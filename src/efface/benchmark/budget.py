"""The runs of a benchmark and their price, before it runs (steps counted and timed) and after it (seconds measured)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.benchmark.benchmark import (
    HEADLINE,
    BenchConfig,
    Entry,
    shared_runs,
    tuning_reference_runs,
    tuning_starts,
    unlearned_runs,
)
from efface.benchmark.costing import Timing, time_steps
from efface.benchmark.engines import Engine, engine_named
from efface.benchmark.runs import Run
from efface.benchmark.setups import Cost, cost_of_runs
from efface.benchmark.tuning import trials


def timing_of(config: BenchConfig, chosen: Sequence[Entry], out: Path, engine: Engine) -> Timing:
    """Steps of all runs, published and of trials, and their seconds with this engine; kept in `out`."""
    sections = [one.section for one in chosen]
    if config.tuning:
        sections += [trial.section for one in chosen for trial in trials(one, config.tuning)[1:]]
    return time_steps(out, config.task, sections, engine)


def cost_before(config: BenchConfig, chosen: Sequence[Entry], timing: Timing) -> dict[str, Any]:
    """Models to be trained and unlearned, and hours: JSON-ready.

    `published`, `tuning` and `tuned_at_most` add up to `total_at_most`, runs that parts share counted in the first;
    the tuned runs are those of each method's dearest trial. `setups_alone`: what each setup would cost by itself.
    """

    def seconds(run: Run) -> float:
        return timing.seconds(run, config.time_limit)

    parts = {
        "published": published_runs(config, chosen),
        "tuning": tuning_runs(config, chosen),
        "tuned_at_most": _dearest_runs(config, chosen, seconds),
    }
    costs = costs_of(parts, seconds)
    costs["total_at_most"] = costs.pop("total")
    workers = engine_named(config.engine).workers
    alone = {
        setup: cost_of_runs(
            [
                *shared_runs(config, [setup]),
                *(run for one in chosen for run in unlearned_runs(config, [setup], one.section)),
            ],
            seconds,
        )
        for setup in config.all_setups
    }
    return {
        "timing": timing.as_dict(),
        "setups_alone": {setup: cost.as_dict() for setup, cost in alone.items()},
        **{name: cost.as_dict() for name, cost in costs.items()},
        "workers": workers,
        "hours_at_most": (costs["total_at_most"].seconds or 0.0) / 3600 / workers,
        "uncounted": dict(sorted(timing.errors.items())),
    }


def published_runs(config: BenchConfig, chosen: Sequence[Entry]) -> list[Run]:
    """Originals, retrained models, and all methods with published settings, in all setups."""
    setups = config.all_setups
    return [
        *shared_runs(config, setups),
        *(run for one in chosen for run in unlearned_runs(config, setups, one.section)),
    ]


def tuning_runs(config: BenchConfig, chosen: Sequence[Entry]) -> list[Run]:
    """All trials of all methods, and what they are compared with."""
    tuning = config.tuning
    if not tuning:
        return []
    made = (trial for one in chosen for trial in trials(one, tuning))
    starts = tuning_starts(config)
    return [*tuning_reference_runs(config), *(run for trial in made for run in trial.runs(starts))]


def costs_of(parts: Mapping[str, Sequence[Run]], seconds: Callable[[Run], float]) -> dict[str, Cost]:
    """The cost of each part, runs of an earlier part not counted again, and of all under `total`."""
    seen: dict[Run, None] = {}
    found = {}
    for name, runs in parts.items():
        new = [run for run in dict.fromkeys(runs) if run not in seen]
        seen |= dict.fromkeys(new)
        found[name] = cost_of_runs(new, seconds)
    return {**found, "total": cost_of_runs(seen, seconds)}


def _dearest_runs(config: BenchConfig, chosen: Sequence[Entry], seconds: Callable[[Run], float]) -> list[Run]:
    """The tuned runs if each method's dearest trial won."""
    found: list[Run] = []
    for one in chosen if config.tuning else []:
        assert config.tuning is not None
        each = [unlearned_runs(config, [HEADLINE], trial.section) for trial in trials(one, config.tuning)[1:]]
        prices = [seconds(runs[0]) for runs in each]
        found += each[prices.index(max(prices))] if each else []
    return found
