"""Which runs an experiment compares: the setups of the competition's paper (arXiv:2406.09073), and what each costs.

An experiment sets N unlearned models against N retrained ones. The setups differ in what experiments share:

- `full`: nothing. Every experiment has originals, unlearned and retrained models of its own.
- `reuse-n-n`: N originals and the retrained models, over experiments and methods; each unlearned model starts from an
  original of its own, and an experiment is another seed of unlearning.
- `reuse-n-1`: the retrained models; all N unlearned models of an experiment start from one original, as in the
  competition's code. An experiment is another original.
- `bootstrap`: everything. Experiments draw, with replacement, from the runs of the first experiment of `reuse-n-n`.

The paper's definitions were read in its abstract and code, not in full; these are ours where they leave a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from efface.benchmark.runs import Purpose, Run
from efface.randomness import numpy_draws

Setup = Literal["full", "bootstrap", "reuse-n-n", "reuse-n-1"]
SETUPS: tuple[Setup, ...] = get_args(Setup)
RETRAINED_FOR_EACH = 2
"""Retrained models for each unlearned one: two disjoint halves give the ceiling at the full number."""


@dataclass(frozen=True)
class Experiment:
    """N unlearned runs, the retrained ones (twice as many, for the ceiling), and the originals that were started from."""

    unlearned: tuple[Run, ...]
    retrained: tuple[Run, ...]
    original: tuple[Run, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of its runs, each once."""
        return tuple(dict.fromkeys((*self.original, *self.retrained, *self.unlearned)))

    def without_seeds(self) -> Experiment:
        """The same with seed 0 for every unlearned model."""
        return replace(self, unlearned=tuple(replace(run, seed=0) for run in self.unlearned))


def experiments(
    setup: Setup,
    method: Mapping[str, Any],
    models: int,
    count: int,
    *,
    purpose: Purpose = "score",
    seed: int = 0,
    retrained_for_each: int = RETRAINED_FOR_EACH,
    deterministic: bool = False,
) -> list[Experiment]:
    """`count` experiments of a method's section with `models` unlearned models each.

    seed: of the draws of `bootstrap`; the other setups draw nothing. deterministic: whether the method gives one model
    for an original, whatever its seed; that run is then carried out once and counts as often as it is asked for.
    """
    make: Callable[..., Experiment] = {
        "full": _full,
        "reuse-n-n": _reuse_n_n,
        "reuse-n-1": _reuse_n_1,
        "bootstrap": _bootstrap,
    }[setup]
    section = dict(method)
    found = [
        make(section, models, number, purpose, models * retrained_for_each, seed) for number in range(count)
    ]
    return [one.without_seeds() for one in found] if deterministic else found


def _full(
    section: dict[str, Any], models: int, number: int, purpose: Purpose, retrained: int, _: int
) -> Experiment:
    # seeds from 10,000 on, so that the first experiment is as independent of the reused pool as the others
    first = 10_000 + number * retrained
    starts = range(first, first + models)
    return Experiment(
        tuple(Run.unlearned(section, start, 0, purpose) for start in starts),
        tuple(Run("retrained", first + place, purpose=purpose) for place in range(retrained)),
        tuple(Run("original", start) for start in starts),
    )


def _reuse_n_n(
    section: dict[str, Any], models: int, number: int, purpose: Purpose, retrained: int, _: int
) -> Experiment:
    return Experiment(
        tuple(Run.unlearned(section, start, number, purpose) for start in range(models)),
        tuple(Run("retrained", place, purpose=purpose) for place in range(retrained)),
        tuple(Run("original", start) for start in range(models)),
    )


def _reuse_n_1(
    section: dict[str, Any], models: int, number: int, purpose: Purpose, retrained: int, _: int
) -> Experiment:
    # seed 0 from the same original is the run of reuse-n-n, so the two setups share it
    return Experiment(
        tuple(Run.unlearned(section, number, place, purpose) for place in range(models)),
        tuple(Run("retrained", place, purpose=purpose) for place in range(retrained)),
        (Run("original", number),),
    )


def _bootstrap(
    section: dict[str, Any], models: int, number: int, purpose: Purpose, retrained: int, seed: int
) -> Experiment:
    pool = _reuse_n_n(section, models, 0, purpose, retrained, seed)
    draws = numpy_draws(seed, "bootstrap", number)
    starts = draws.integers(models, size=models)
    return Experiment(
        tuple(pool.unlearned[place] for place in starts),
        tuple(pool.retrained[place] for place in draws.integers(retrained, size=retrained)),
        tuple(pool.original[place] for place in starts),
    )


@dataclass(frozen=True)
class Cost:
    """Models to be trained or unlearned, and the seconds of one worker that they take where times are known."""

    originals: int
    retrained: int
    unlearned: int
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {
            "originals": self.originals,
            "retrained": self.retrained,
            "unlearned": self.unlearned,
            "worker_hours": None if self.seconds is None else self.seconds / 3600,
        }


def cost_of_runs(runs: Iterable[Run], seconds: Callable[[Run], float] | None = None) -> Cost:
    """What these runs cost, each once; `seconds` says how long one takes."""
    chosen: Sequence[Run] = list(dict.fromkeys(runs))
    kinds = [run.kind for run in chosen]
    total = sum(seconds(run) for run in chosen) if seconds else None
    return Cost(kinds.count("original"), kinds.count("retrained"), kinds.count("unlearned"), total)
