"""What is known of a statistic before anything is measured, declared at its function.

On forget examples the goal is the retrained model's value, so a direction alone ("down") is only given where
the statistic is itself a comparison with retrained models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from efface.metrics.base import Direction

MODULES = (
    "official",
    "robust",
    "apart",
    "distributions",
    "relative",
    "relative_divergence",
    "likelihood_attacks",
    "membership",
    "outputs",
)
CONFIDENCES = "confidences [models, examples] of unlearned and retrained models"
SHADOWS = "confidences of the attacked models and of shadow models"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class StatisticInfo:
    """A statistic of `forgetting`.

    `function` is its place, `module.function` within `efface.forgetting`. `direction` is the better one; of an attack it
    is that of its result on forget examples. `reads` says what it is computed from; `range` its unit and ends.
    """

    name: str
    title: str
    function: str
    direction: Direction
    range: str
    reads: str
    source: str
    summary: str


def statistic(
    title: str, *, direction: Direction, range: str, reads: str, source: str, summary: str
) -> Callable[[Function], Function]:
    """Declares the function below it as a statistic, under the function's own name."""

    def declare(function: Function) -> Function:
        module = function.__module__.rpartition(".")[2]
        name = function.__name__
        _DECLARED[name] = StatisticInfo(
            name, title, f"{module}.{name}", direction, range, reads, source, summary
        )
        return function

    return declare


def statistics() -> dict[str, StatisticInfo]:
    """All of them by name: module by module, in the order in which they stand there."""
    for module in MODULES:
        import_module(f"efface.forgetting.{module}")
    found = sorted(_DECLARED.values(), key=lambda one: MODULES.index(one.function.partition(".")[0]))
    return {one.name: one for one in found}


_DECLARED: dict[str, StatisticInfo] = {}
