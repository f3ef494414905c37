"""One task after the other in this process: for tests, for a debugger, and as what other engines are timed against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from efface.errors import Stopped
from efface.oracles.engines.base import Engine, Outcome, T, attempt


class InLineEngine(Engine):
    """Runs each task when its outcome is asked for. A task that kills its process kills this one."""

    name: ClassVar[str] = "in-line"

    def run(self, function: Callable[[T], None], tasks: Sequence[T]) -> Iterator[Outcome[T]]:
        for task in tasks:
            # a handler of the caller raises `Stopped` inside the task here; it is meant for all of them
            yield Outcome(task, *attempt(function, task, passing=(Stopped,)))
