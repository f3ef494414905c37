"""Settings for a task that is not the one for which a method was published: a stated budget, the same for each method.

Trial 0 has the published settings; the others are drawn from the method's own `space`, uniformly on a logarithmic scale.
Every trial unlearns another forget set than the scored one, with as many models, from originals that the headline setup
does not score, and gets one number:

    (1 - mean H) x min(1, retain ratio) x min(1, test ratio),

where H of an example is the energy coefficient of unlearned and retrained confidences, (2 E|U - R| - E|U - U'| -
E|R - R'|) / (2 E|U - R|): 0 for one law, 1 for two points (Szekely and Rizzo 2013). It needs no thresholds, so a few
models suffice, and it still falls where a threshold already tells all models apart. Ratios are accuracies, unlearned /
retrained, on retain images and on the same test images as in the table; above 1 they earn nothing. The highest number
wins, the earlier trial among equals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from efface.benchmark.benchmark import Entry, TuningSettings, entry
from efface.benchmark.classifiers.runs import Outputs
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.forgetting.arrays import models_by_examples
from efface.forgetting.distributions import energy_distance
from efface.randomness import numpy_draws


@dataclass(frozen=True)
class Trial:
    """Settings of a method that are tried: trial 0 has those of its entry."""

    label: str
    number: int
    section: dict[str, Any]

    def runs(self, starts: Sequence[int]) -> list[Run]:
        """Its unlearned models, one from each of these originals."""
        return [Run.unlearned(self.section, start, 0, "tuning") for start in starts]


@dataclass(frozen=True)
class Tried:
    """What became of a trial; `objective` is None where a run failed, and `error` says why."""

    trial: Trial
    objective: float | None
    forgetting: float | None = None
    retain_ratio: float | None = None
    test_ratio: float | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {
            "number": self.trial.number,
            "section": self.trial.section,
            "objective": self.objective,
            "forgetting": self.forgetting,
            "retain_ratio": self.retain_ratio,
            "test_ratio": self.test_ratio,
            "error": self.error,
        }


def trials(one: Entry, tuning: TuningSettings) -> list[Trial]:
    """As many trials of a method as the budget says; none where it has nothing to tune."""
    if not one.method.space:
        return []
    made = [Trial(one.label, 0, one.section)]
    for number in range(1, tuning.trials):
        section = {**one.section, **_drawn(one, tuning.seed, number)}
        made.append(Trial(one.label, number, entry(section).section))
    return made


def objective(unlearned: ArrayLike, retrained: ArrayLike, retain_ratio: float, test_ratio: float) -> float:
    """One number for confidences `[models, examples]` on the forget set and ratios of accuracies: 0 to 1, up."""
    return forgetting(unlearned, retrained) * min(1.0, retain_ratio) * min(1.0, test_ratio)


def forgetting(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """1 - the mean energy coefficient of the examples: 0 to 1; 1 where both sides have one law."""
    u, r = models_by_examples({"unlearned": unlearned, "retrained": retrained})
    across = 2 * np.stack([np.abs(u - one).mean(axis=0) for one in r]).mean(axis=0)
    # where both sides are one and the same number nothing tells them apart
    share = np.divide(energy_distance(u, r), across, out=np.zeros_like(across), where=across > 0)
    return float(1 - share.mean())


def judge(
    trial: Trial,
    pool: Pool[Outputs],
    tuning: TuningSettings,
    starts: Sequence[int],
    errors: Mapping[Run, str],
) -> Tried:
    """The number that a trial gets from the runs of the pool."""
    runs = trial.runs(starts)
    failed = [errors.get(run, "it is not there") for run in runs if not pool.has(run)]
    if failed:
        return Tried(trial, None, error=f"{len(failed)} of {len(runs)} runs failed: {failed[0]}")
    retrained = [Run("retrained", place, purpose="tuning") for place in range(tuning.references)]
    ratios = {
        name: float(pool.stack(runs, "correct", name).mean())
        / max(float(pool.stack(retrained, "correct", name).mean()), math.ulp(1.0))
        for name in ("retain", "test")
    }
    u, r = (pool.stack(side, "confidence", "forget") for side in (runs, retrained))
    return Tried(
        trial,
        objective(u, r, ratios["retain"], ratios["test"]),
        forgetting(u, r),
        ratios["retain"],
        ratios["test"],
    )


def best(tried: list[Tried]) -> Tried | None:
    """The trial with the highest number, the earliest among equals; None where all failed."""
    counted = [one for one in tried if one.objective is not None]
    return max(counted, key=lambda one: (one.objective, -one.trial.number)) if counted else None


def _drawn(one: Entry, seed: int, number: int) -> dict[str, float | int]:
    found: dict[str, float | int] = {}
    for name, (low, high) in one.method.space.items():
        share = float(numpy_draws(seed, "tuning", one.label, number, name).random())
        if type(one.method).model_fields[name].annotation is int:
            # half a step beyond either end, so that the ends are as likely as their neighbours
            a, b = math.log(low - 0.5), math.log(high + 0.5)
            found[name] = int(min(max(round(math.exp(a + share * (b - a))), low), high))
        else:
            value = math.exp(math.log(low) + share * math.log(high / low))
            found[name] = min(max(float(f"{value:.4g}"), low), high)
    return found
