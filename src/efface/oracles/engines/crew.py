"""The worker processes of `ProcessEngine`, seen from the driver, and what runs inside them.

Workers are started once and live as long as there are tasks, so importing torch is paid once a worker. Each holds one
task at a time and has a pipe of its own, so when one dies it is known which task it had, and no other is lost.
They are spawned, not forked: a fork copies the locks of torch's threads but not the threads.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import cast

from efface.errors import Stopped
from efface.oracles.engines.base import Report, attempt, call_packed

STARTS = 3
"""How many workers in a row may end before one is ready for its first task."""

PATIENCE = 5.0
"""Seconds that an idle worker gets to end by itself."""

PARENT_CHECK = 0.5
"""Seconds between a worker's looks at whether the driver still lives."""


@dataclass(frozen=True)
class News:
    """What the driver heard of a task: its report, or None where the worker died, and why it did."""

    task: int
    report: Report | None
    began: bool
    why: str
    seconds: float


class Crew:
    """One worker for each of `environments`, which are set before anything is imported there."""

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._environments = environments
        self._workers: dict[int, Worker] = {}
        self._failed_starts = 0

    def idle(self) -> list[Worker]:
        """The workers that can take a task; starts those that are missing."""
        for place, environment in enumerate(self._environments):
            if place not in self._workers:
                self._workers[place] = Worker(environment)
        return [worker for worker in self._workers.values() if worker.idle]

    def news(self) -> Iterator[News]:
        """Wait until something is heard, and tell what concerns a task. A worker that died leaves the crew."""
        heard = wait([worker.connection for worker in self._workers.values()])
        for place, worker in list(self._workers.items()):
            if worker.connection not in heard:
                continue
            task, began, seconds = worker.task, worker.began, time.monotonic() - worker.since
            try:
                report, why = worker.hear(), ""
                self._failed_starts = 0
            except (EOFError, OSError):
                del self._workers[place]
                report, why = None, worker.ended()
                self._count_failed_start(worker, why)
            if task is not None:
                yield News(task, report, began, why, seconds)

    def stop(self) -> None:
        """End all workers: idle ones by themselves, the others at once. Results are whole files or none."""
        for worker in self._workers.values():
            if not worker.idle:
                worker.process.kill()
            worker.connection.close()
        for worker in self._workers.values():
            worker.ended()
        self._workers.clear()

    def _count_failed_start(self, worker: Worker, why: str) -> None:
        self._failed_starts += not worker.ready
        if self._failed_starts == STARTS:
            raise Stopped(
                f"{STARTS} workers in a row ended before they could take a task ({why}); what they said stands above. "
                "Where they ended with exit code 1, see that the script has its `if __name__ == '__main__':`"
            )


class Worker:
    """The driver's end of one worker process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.ready, self.began = False, False
        self.task: int | None = None
        self.since = 0.0
        with theirs, _environment(environment), _no_interrupt():
            self.process.start()

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None

    def begin(self, task: int, work: bytes) -> None:
        """Hand over a task. Where the worker is gone already, `began` stays False and its pipe tells the rest."""
        self.task, self.began, self.since = task, False, time.monotonic()
        with suppress(OSError):
            self.connection.send_bytes(work)
            self.began = True

    def hear(self) -> Report | None:
        """The report on its task, or None where it says that it is ready. Raises `EOFError` if it died."""
        report = cast("Report | None", self.connection.recv())
        self.ready, self.task = True, None
        return report

    def ended(self) -> str:
        """See to it that the process is gone, and say why it went."""
        self.connection.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        return ending(code)


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


def serve(connection: Connection) -> None:
    """What a worker does: run tasks until the pipe ends. Ctrl-C is the driver's to decide about."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    # the pipe also ends where the driver dies
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            connection.send(attempt(call_packed, connection.recv_bytes()))


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
