"""Which kind of model a benchmark is of: the only place that asks. Importing this imports no torch."""

from __future__ import annotations

from typing import Any

from efface.benchmark.config import BenchConfig
from efface.benchmark.kind import BenchKind


def kind_of(config: BenchConfig) -> BenchKind[Any]:
    """How the runs of a benchmark are carried out and read."""
    if config.kind == "generators":
        from efface.benchmark.generators.kind import GENERATORS

        return GENERATORS
    from efface.benchmark.classifiers.kind import CLASSIFIERS

    return CLASSIFIERS
