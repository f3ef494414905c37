"""Worker processes on this machine: the engine that needs nothing else installed.

Workers live as long as there are tasks, so importing torch is paid once a worker. Each is a pebble pool of one process:
then it is known which task a worker had when it died, no other is lost, and each keeps its device. They are spawned,
not forked: a fork copies the locks of torch's threads but not the threads.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, ClassVar

from pebble import ProcessPool

from efface.benchmark.engines.base import (
    RETRIES,
    Engine,
    Fact,
    Outcome,
    Report,
    T,
    attempt,
    call_packed,
    check_picklable,
    packed,
    thread_variables,
)
from efface.devices import WORKER
from efface.errors import Faults, Stopped

STARTS = 3
"""How many workers in a row may end before one is ready for its first task."""

PULSE = 5.0
"""Seconds between checks whether a worker is gone of which nothing was heard."""

PARENT_CHECK = 0.5
"""Seconds between a worker's checks whether the driver still lives."""


class ProcessEngine(Engine):
    """`workers` processes of `threads` threads each; by default as many as fill the usable cores.

    `devices` are dealt out to the workers in turn, so several may share one; a task asks for its own with
    `efface.devices.chosen_device()`. A script that uses this engine needs the usual `if __name__ == "__main__":`.
    """

    name: ClassVar[str] = "processes"

    def __init__(self, workers: int | None = None, threads: int = 1, devices: Sequence[str] = ()) -> None:
        with Faults() as faults:
            if workers is not None and workers < 1:
                faults.add(f"workers is {workers}: give 1 or more, or none to fill the usable cores")
            if threads < 1:
                faults.add(f"threads is {threads}: give the threads of one worker, 1 or more")
            if isinstance(devices, str):
                faults.add(f"devices is the text {devices!r}: give a list, for example [{devices!r}]")
        self.workers = workers or max(1, usable_cores() // threads)
        self.threads = threads
        self.devices = tuple(devices) or ("cpu",)

    @property
    def uses_gpu(self) -> bool:
        return any(device != "cpu" for device in self.devices)

    def facts(self) -> dict[str, Fact]:
        return {
            **super().facts(),
            "workers": self.workers,
            "threads": self.threads,
            "devices": list(self.devices),
        }

    def _run_once(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool], deaths: int
    ) -> Generator[Outcome[T], None, None]:
        check_picklable(function, tasks)
        # the last time a task runs alone: where memory ran out, one that was killed for another's hunger then passes
        count = 1 if deaths == RETRIES else min(self.workers, len(tasks))
        workers = [_Worker(self._environment(place)) for place in range(count if tasks else 0)]
        waiting, failed_starts = deque(range(len(tasks))), 0
        try:
            # the number of a worker's task; None while it starts
            running: dict[Future[Report], tuple[_Worker, int | None]]
            running = {worker.start(): (worker, None) for worker in workers}
            while running:
                ended = []
                ready = wait(running, PULSE, FIRST_COMPLETED).done
                for future in ready or [
                    future for future, (worker, _) in running.items() if not worker.lives
                ]:
                    worker, number = running.pop(future)
                    died = not future.done() or future.exception() is not None
                    if number is None:
                        failed_starts = failed_starts + 1 if died else 0
                        if failed_starts == STARTS:
                            raise Stopped(_no_start(worker.end()))
                    elif died:
                        ended.append(Outcome(tasks[number], worker.end(), died=True))
                    else:
                        ended.append(Outcome(tasks[number], *future.result()))
                    if waiting and died:
                        running[worker.start()] = worker, None
                    elif waiting:
                        number = waiting.popleft()
                        running[worker.begin(packed(function, tasks[number]))] = worker, number
                # told only now, so that no worker waits for the caller
                yield from ended
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.pool.join()

    def _environment(self, place: int) -> dict[str, str]:
        return thread_variables(self.threads) | {WORKER: self.devices[place % len(self.devices)]}


class _Worker:
    """One process with an environment of its own, started as often as it is needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._context = _OneProcess()
        self.pool = self._new_pool()

    @property
    def lives(self) -> bool:
        return self.pool.active

    def start(self) -> Future[Report]:
        """Start a process, in the place of one that has ended; what is returned ends when it is ready."""
        self.stop()
        self.pool.join()
        self.pool = self._new_pool()
        with _environment(self._environment), _no_interrupt():
            return self.pool.schedule(_ready)

    def begin(self, work: bytes) -> Future[Report]:
        return self.pool.schedule(attempt, args=(call_packed, work))

    def stop(self) -> None:
        """Have the process ended, which `pool.join` waits for."""
        self.pool.stop()  # type: ignore[no-untyped-call]

    def end(self) -> str:
        """How the process ended."""
        return ending(self._context.exit_code())

    def _new_pool(self) -> ProcessPool:
        self._context = _OneProcess()
        return ProcessPool(1, initializer=_set_up, context=self._context)


class _OneProcess(SpawnContext):
    """Starts one process: pebble would put a second in the place of one that died, and not tell of an exit code 0."""

    _process: SpawnProcess | None = None

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        if self._process is not None:
            raise OSError("the worker has ended")
        self._process = SpawnProcess(*arguments, **options)
        return self._process

    def exit_code(self) -> int:
        """Negative for a signal."""
        return (self._process and self._process.exitcode) or 0


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ending(code: int) -> str:
    """The end of a process in words, from its exit code (negative: a signal).

    >>> ending(-9)
    'killed by signal 9: out of memory?'
    """
    if code >= 0:
        return f"exit code {code}"
    if code == -signal.SIGKILL:
        return "killed by signal 9: out of memory?"
    return f"killed by signal {-code}: {signal.strsignal(-code)}"


def _no_start(end: str) -> str:
    return (
        f"{STARTS} workers in a row ended before they could take a task ({end}); what they said stands above. Where "
        "they ended with exit code 1, see that the script has its `if __name__ == '__main__':`"
    )


def _set_up() -> None:
    """What a worker does first. Ctrl-C is the driver's to decide about, and pebble has made the worker ignore it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    # results are whole files or none, so a worker may end at once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()


def _ready() -> Report:
    return None, None


def _end_with_the_driver() -> None:
    driver = parent_process()
    while driver is not None and os.getppid() == driver.pid:
        time.sleep(PARENT_CHECK)
    os._exit(1)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The environment that a process started here inherits."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """A Ctrl-C in here waits for the end of the block, and a process started here is born deaf to it.

    Without this, a Ctrl-C while a worker starts would end it with a traceback of its own.
    """
    # the tracker unblocks SIGINT where it has to be started first
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
