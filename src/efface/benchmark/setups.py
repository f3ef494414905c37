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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from efface.benchmark.results import RunCount
from efface.benchmark.runs import PoolRun, Section
from efface.randomness import numpy_draws

Setup = Literal["full", "bootstrap", "reuse-n-n", "reuse-n-1"]
SETUPS: tuple[Setup, ...] = get_args(Setup)
OWN_ORIGINALS: tuple[Setup, ...] = ("full", "reuse-n-n")
"""Those in which each unlearned model has an original of its own, so that models are independent of each other."""
RETRAINED_FOR_EACH = 2
"""Retrained models for each unlearned one: two disjoint halves give the ceiling at the full number."""


@dataclass(frozen=True)
class Experiment:
    """N unlearned runs, the retrained ones (twice as many, for the ceiling), and the originals that were started from."""

    unlearned: tuple[PoolRun, ...]
    retrained: tuple[PoolRun, ...]
    original: tuple[PoolRun, ...]

    @property
    def runs(self) -> tuple[PoolRun, ...]:
        """All of its runs, each once."""
        return tuple(dict.fromkeys((*self.original, *self.retrained, *self.unlearned)))

    @property
    def other_retrained(self) -> tuple[PoolRun, ...]:
        """A retrained model to stand beside each of the first N: of the other half, or without one the next in turn."""
        first, count = len(self.unlearned), len(self.retrained)
        shift = first if count > first else 1
        return tuple(self.retrained[(place + shift) % count] for place in range(first))

    def without_seeds(self) -> Experiment:
        """The same with seed 0 for every unlearned model."""
        return replace(self, unlearned=tuple(replace(run, seed=0) for run in self.unlearned))


def experiments(
    setup: Setup,
    method: Section,
    models: int,
    count: int,
    *,
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
    found = [make(method, models, number, models * retrained_for_each, seed) for number in range(count)]
    return [one.without_seeds() for one in found] if deterministic else found


def _full(section: Section, models: int, number: int, retrained: int, _: int) -> Experiment:
    # seeds from 10,000 on, so that the first experiment is as independent of the reused pool as the others
    first = 10_000 + number * retrained
    starts = range(first, first + models)
    return Experiment(
        tuple(PoolRun.unlearned(section, start, 0) for start in starts),
        tuple(PoolRun("retrained", first + place) for place in range(retrained)),
        tuple(PoolRun("original", start) for start in starts),
    )


def _reuse_n_n(section: Section, models: int, number: int, retrained: int, _: int) -> Experiment:
    return Experiment(
        tuple(PoolRun.unlearned(section, start, number) for start in range(models)),
        tuple(PoolRun("retrained", place) for place in range(retrained)),
        tuple(PoolRun("original", start) for start in range(models)),
    )


def _reuse_n_1(section: Section, models: int, number: int, retrained: int, _: int) -> Experiment:
    # seed 0 from the same original is the run of reuse-n-n, so the two setups share it
    return Experiment(
        tuple(PoolRun.unlearned(section, number, place) for place in range(models)),
        tuple(PoolRun("retrained", place) for place in range(retrained)),
        (PoolRun("original", number),),
    )


def _bootstrap(section: Section, models: int, number: int, retrained: int, seed: int) -> Experiment:
    pool = _reuse_n_n(section, models, 0, retrained, seed)
    draws = numpy_draws(seed, "bootstrap", number)
    starts = draws.integers(models, size=models)
    return Experiment(
        tuple(pool.unlearned[place] for place in starts),
        tuple(pool.retrained[place] for place in draws.integers(retrained, size=retrained)),
        tuple(pool.original[place] for place in starts),
    )


def count_of(runs: Iterable[PoolRun], seconds: Callable[[PoolRun], float]) -> RunCount:
    """How many these runs are, each once, and what they take; `seconds` says how long one takes."""
    chosen = list(dict.fromkeys(runs))
    kinds = [run.kind for run in chosen]
    return RunCount(
        originals=kinds.count("original"),
        retrained=kinds.count("retrained"),
        unlearned=kinds.count("unlearned"),
        seconds=sum(seconds(run) for run in chosen),
    )
