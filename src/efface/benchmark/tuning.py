"""Settings for a task that is not the one for which a method was published: a stated budget, the same for each method.

Trial 0 has the default settings; the others are drawn from the method's own `search_space`, uniformly on a logarithmic
scale. Every trial unlearns another forget set than the scored one, with as many models, from originals that the headline
setup does not score, and gets one number:

    (1 - mean H) x the product of min(1, ratio),

where H of an example is the energy coefficient of what the forgetting score reads of unlearned and retrained models,
(2 E|U - R| - E|U - U'| - E|R - R'|) / (2 E|U - R|): 0 for one law, 1 for two points (Szekely and Rizzo 2013). It needs
no thresholds, so a few models suffice, and it still falls where a threshold already tells all models apart. Ratios say
what is kept on retain images, and on the same test or neutral images as in the table; above 1 they earn nothing. The
highest number wins, the earlier trial among equals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import JsonValue

from efface.benchmark.config import BenchConfig, MethodEntry, entry
from efface.benchmark.reading import TaskReader
from efface.benchmark.results import TrialOutcome
from efface.benchmark.runs import PoolRun
from efface.forgetting.arrays import models_by_examples
from efface.forgetting.distributions import energy_distance
from efface.randomness import numpy_draws


@dataclass(frozen=True)
class Trial:
    """Settings of a method that are tried: trial 0 has those of its entry."""

    number: int
    section: dict[str, JsonValue]

    def runs(self, config: BenchConfig) -> list[PoolRun]:
        """Its unlearned models, one from each of the originals that the headline does not score."""
        assert config.tuning is not None
        scored = config.experiments(config.headline) if config.headline == "reuse-n-1" else config.models
        starts = range(scored, scored + config.tuning.models)
        return [PoolRun.unlearned(self.section, start, 0, "tuning") for start in starts]


def trials(method: MethodEntry, config: BenchConfig) -> list[Trial]:
    """As many trials of a method as the budget says; none where it has nothing to tune."""
    if config.tuning is None or not method.method.search_space:
        return []
    made = [Trial(0, method.section)]
    for number in range(1, config.tuning.trials):
        section = {**method.section, **_drawn(method, config.tuning.seed, number)}
        made.append(Trial(number, entry(config, section).section))
    return made


def reference_runs(config: BenchConfig) -> list[PoolRun]:
    """The models retrained without the forget set for tuning."""
    count = config.tuning.references if config.tuning else 0
    return [PoolRun("retrained", place, purpose="tuning") for place in range(count)]


def tuning_runs(config: BenchConfig, methods: Sequence[MethodEntry]) -> list[PoolRun]:
    """All trials of all methods, the originals that they start from, and what they are compared with."""
    unlearned = [run for method in methods for trial in trials(method, config) for run in trial.runs(config)]
    if not unlearned:
        return []
    starts = dict.fromkeys(PoolRun("original", run.start) for run in unlearned)
    return [*starts, *reference_runs(config), *unlearned]


def forgetting(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """1 - the mean energy coefficient of the examples `[models, examples]`: 0 to 1; 1 where both sides have one law."""
    u, r = models_by_examples({"unlearned": unlearned, "retrained": retrained})
    across = 2 * np.stack([np.abs(u - one).mean(axis=0) for one in r]).mean(axis=0)
    # where both sides are one and the same number nothing tells them apart
    share = np.divide(energy_distance(u, r), across, out=np.zeros_like(across), where=across > 0)
    return float(1 - share.mean())


def objective(unlearned: ArrayLike, retrained: ArrayLike, ratios: Mapping[str, float]) -> float:
    """One number for what is read of the forget images `[models, examples]` and what is kept: 0 to 1, up."""
    value = forgetting(unlearned, retrained)
    for ratio in ratios.values():
        value *= min(1.0, ratio)
    return value


def outcome_of(
    trial: Trial, reader: TaskReader[Any], config: BenchConfig, errors: Mapping[PoolRun, str]
) -> TrialOutcome:
    """The number that a trial gets from the runs of the pool."""
    runs, retrained = trial.runs(config), reference_runs(config)
    failed = [errors.get(run, "it is not there") for run in runs if not reader.pool.has(run)]
    if failed:
        error = f"{len(failed)} of {len(runs)} runs failed: {failed[0]}"
        return TrialOutcome(number=trial.number, section=trial.section, objective=None, error=error)
    ratios = reader.kept(runs, retrained)
    u, r = (reader.stacked(side) for side in (runs, retrained))
    return TrialOutcome(
        number=trial.number,
        section=trial.section,
        objective=objective(u, r, ratios),
        forgetting=forgetting(u, r),
        ratios=ratios,
    )


def best(outcomes: Sequence[TrialOutcome]) -> TrialOutcome | None:
    """The trial with the highest number, the earliest among equals; None where all failed."""
    counted = [(one.objective, -one.number, one) for one in outcomes if one.objective is not None]
    return max(counted, key=lambda one: one[:2])[2] if counted else None


def _drawn(method: MethodEntry, seed: int, number: int) -> dict[str, float | int]:
    made: dict[str, float | int] = {}
    for name, (low, high) in method.method.search_space.items():
        share = float(numpy_draws(seed, "tuning", method.label, number, name).random())
        if type(method.method).model_fields[name].annotation is int:
            # half a step beyond either end, so that the ends are as likely as their neighbours
            a, b = math.log(low - 0.5), math.log(high + 0.5)
            made[name] = int(min(max(round(math.exp(a + share * (b - a))), low), high))
        else:
            value = math.exp(math.log(low) + share * math.log(high / low))
            made[name] = min(max(float(f"{value:.4g}"), low), high)
    return made
