"""What an engine is: it runs many small independent tasks, and says what became of each.

Results do not pass through an engine. A task's function writes its own result file, atomically, so a result is there
whole or not at all, whatever dies, and an engine carries outcomes only.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from efface.errors import InputError

T = TypeVar("T")

RETRIES = 2
"""How often a task is tried again after its worker died. One that raised is not: it would raise again."""

DEVICE = "EFFACE_WORKER_DEVICE"
"""The environment variable that tells a worker its device."""

Report = tuple[str | None, str | None, float]
"""What a worker sends back about one task: `error`, `trace` and `seconds` of its `Outcome`."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one task: `error` is None, or one line (type and message) plus `trace`, the full text.

    `trace` is None where the worker died. `seconds` is the wall time of the last try, queueing not counted.
    """

    task: T
    error: str | None
    trace: str | None = None
    seconds: float = 0.0


class Engine(ABC):
    """Runs a function over tasks, somewhere. An exception in one task never stops the others."""

    name: ClassVar[str]
    on_cluster: ClassVar[bool] = False
    """Whether tasks may run on other machines, which must then see the folders that tasks name."""

    @property
    def uses_gpu(self) -> bool:
        """Whether its tasks are given a GPU."""
        return False

    def facts(self) -> dict[str, Any]:
        """What the speed of its tasks depends on, JSON-ready."""
        return {"name": self.name}

    @abstractmethod
    def run(self, function: Callable[[T], None], tasks: Sequence[T]) -> Iterator[Outcome[T]]:
        """One outcome for each task, in the order in which they end.

        `function` is importable (defined at the top of a module) and writes its own result file, which it may have
        to write again: a task whose worker died is tried again, at most `RETRIES` times. Tasks are picklable.
        Closing the iterator, or an exception in its consumer, stops everything that is still running.
        """


def worker_device() -> str:
    """The device that a task is to use, for example `cuda:0`; `cpu` where the engine was given none."""
    return os.environ.get(DEVICE, "cpu")


def thread_variables(threads: int) -> dict[str, str]:
    """The environment that gives a process `threads` threads, if it is set before torch and numpy are imported."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def attempt(function: Callable[[T], None], task: T, passing: tuple[type[BaseException], ...] = ()) -> Report:
    """Run one task and report on it. Exceptions become part of the report, except those that are `passing`.

    `SystemExit` is a task's error too. `KeyboardInterrupt` is not: it is meant for the whole process.
    """
    started = time.monotonic()
    try:
        function(task)
    except passing:
        raise
    except (Exception, SystemExit) as error:
        return one_line(error), traceback.format_exc(), time.monotonic() - started
    return None, None, time.monotonic() - started


def packed(function: Callable[[T], None], task: T, dumps: Callable[[object], bytes] = pickle.dumps) -> bytes:
    """Function and task as bytes, and where the driver finds modules, which need not be where a worker looks."""
    return pickle.dumps((sys.path, dumps((function, task))))


def call_packed(work: bytes) -> None:
    """Call what `packed` made. What cannot be imported is then an error of the task."""
    path, call = pickle.loads(work)
    sys.path.extend(entry for entry in path if entry not in sys.path)
    function, task = pickle.loads(call)
    function(task)


def check_picklable(function: Callable[[T], None], tasks: Sequence[T]) -> None:
    """Raise `InputError` unless function and tasks can be sent to another process."""
    try:
        pickle.dumps(function)
    except Exception as error:
        raise InputError(
            f"{getattr(function, '__qualname__', function)} cannot be sent to another process "
            f"({one_line(error)}): define it with `def` at the top of a module"
        ) from None
    for index, task in enumerate(tasks):
        try:
            pickle.dumps(task)
        except Exception as error:
            raise InputError(
                f"task {index} cannot be sent to another process ({one_line(error)}): make it of plain values"
            ) from None


def one_line(error: BaseException) -> str:
    """Type and message of an exception on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def death(times: int, why: str) -> str:
    """The error of a task whose worker died at every try.

    >>> death(3, "killed by signal 9: out of memory?")
    'the worker died 3 times (killed by signal 9: out of memory?)'
    """
    return f"the worker died {times} times ({why})"
