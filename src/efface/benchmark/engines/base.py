"""What an engine is: it runs many small independent tasks, and says what became of each.

Results do not pass through an engine. A task's function writes its own result file, atomically, so a result is there
whole or not at all, whatever dies. `done(task)` asks whether it is there; an engine carries outcomes only.
"""

from __future__ import annotations

import pickle
import re
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from efface.devices import AUTO, on_device
from efface.errors import InputError, Stopped

T = TypeVar("T")

RETRIES = 2
"""How often a task is run again after its worker died. One that raised is not: it would raise again."""


NO_RESULT = (
    "the task ended without an error, but its result is not there: does the worker write to the same folder as this "
    "process reads (on a cluster: a shared one)?"
)

WHOLE_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s/:'\",;()]+)+/([^\s/:'\",;()]+)")
"""A path from the root within a text, but not an address; the group is its last part."""

Report = tuple[str | None, str | None]
"""What a worker sends back about one task: `error` and `trace` of its `Outcome`."""

Fact = str | int | float | list[str] | None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one task: `error` is None, or one line (type and message) without the folders of a path.

    trace: the full text of an exception. died: whether the worker ended in the middle of the task; `error` says how.
    """

    task: T
    error: str | None = None
    trace: str | None = None
    died: bool = False


class Engine(ABC):
    """Runs a function over tasks, somewhere. An exception in one task never stops the others."""

    name: ClassVar[str]
    on_cluster: ClassVar[bool] = False
    """Whether tasks may run on other machines, which must then see the folders that tasks name."""
    workers: int = 1
    """Tasks that run at a time, where that is known beforehand."""
    devices: tuple[str, ...] = ()
    """Those of this machine that it names for its tasks."""

    @property
    def uses_gpu(self) -> bool:
        """Whether its tasks are given a GPU."""
        return False

    def facts(self) -> dict[str, Fact]:
        """What the speed of its tasks depends on, JSON-ready."""
        return {"name": self.name}

    def run(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool]
    ) -> Generator[Outcome[T], None, None]:
        """One outcome for each task, in the order in which they end.

        `function` is importable (defined at the top of a module) and writes its own result file; `done` is asked here,
        and says whether that file is there. A task whose worker died is run again after all others, at most `RETRIES`
        times. Tasks are picklable. Closing the iterator, or an exception in its consumer, stops everything that is
        still running. Raises `InputError` where the engine cannot be used, and `Stopped` where no worker can start.
        """
        unseen: list[T] = []
        for deaths in range(RETRIES + 1):
            if not tasks:
                break
            lost: list[T] = []
            with closing(self._run_once(function, tasks, done, deaths)) as outcomes:
                for outcome in outcomes:
                    if outcome.error and not outcome.died:
                        yield outcome
                    elif done(outcome.task):
                        yield Outcome(outcome.task)
                    elif not outcome.died:
                        unseen.append(outcome.task)
                    elif deaths < RETRIES:
                        lost.append(outcome.task)
                    else:
                        yield Outcome(outcome.task, death(RETRIES + 1, str(outcome.error)), died=True)
            tasks = lost
        # asked last: a shared folder may show a file late
        yield from (Outcome(task, None if done(task) else NO_RESULT) for task in unseen)

    @abstractmethod
    def _run_once(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool], deaths: int
    ) -> Generator[Outcome[T], None, None]:
        """One outcome for each task, of which the worker has died `deaths` times."""


class InLineEngine(Engine):
    """Runs each task in this process, when its outcome is asked for. A task that kills its process kills this one."""

    name: ClassVar[str] = "in-line"

    def __init__(self, device: str = AUTO) -> None:
        self.devices = (device,)

    def _run_once(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool], deaths: int
    ) -> Generator[Outcome[T], None, None]:
        for task in tasks:
            # a handler of the caller raises `Stopped` inside the task here; it is meant for all of them
            with on_device(*self.devices[:1]):
                report = attempt(function, task, passing=(Stopped,))
            yield Outcome(task, *report)


def thread_variables(threads: int) -> dict[str, str]:
    """The environment that gives a process `threads` threads, if it is set before torch and numpy are imported."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def attempt(function: Callable[[T], None], task: T, passing: tuple[type[BaseException], ...] = ()) -> Report:
    """Run one task and report on it. Exceptions become part of the report, except those that are `passing`.

    `SystemExit` is a task's error too. `KeyboardInterrupt` is not: it is meant for the whole process.
    """
    try:
        function(task)
    except passing:
        raise
    except (Exception, SystemExit) as error:
        return one_line(error), traceback.format_exc()
    return None, None


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
    """Type and message of an exception on one line, without the folders of a path."""
    message = without_folders(" ".join(str(error).split()))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def without_folders(text: str) -> str:
    """The text with only the last part of each path from the root.

    >>> without_folders("no such file: /home/ann/cats/7.png")
    'no such file: 7.png'
    """
    return WHOLE_PATH.sub(r"\1", text)


def death(times: int, how: str) -> str:
    """The error of a task whose worker died each time that it was run.

    >>> death(3, "killed by signal 9: out of memory?")
    'the worker died 3 times (killed by signal 9: out of memory?)'
    """
    return f"the worker died {times} times ({how})"
