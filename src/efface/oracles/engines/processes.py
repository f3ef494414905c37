"""Worker processes on this machine: the engine that needs nothing installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from efface.errors import Faults
from efface.oracles.engines.base import (
    DEVICE,
    RETRIES,
    Engine,
    Outcome,
    Report,
    T,
    check_picklable,
    death,
    packed,
    thread_variables,
    worker_device,
)
from efface.oracles.engines.crew import Crew, News
from efface.oracles.engines.tries import Tries

__all__ = ["ProcessEngine", "usable_cores", "worker_device"]


class ProcessEngine(Engine):
    """`workers` processes of `threads` threads each; by default as many as fill the usable cores.

    `devices` are dealt out to the workers in turn, so several may share one; a task asks for its own with
    `worker_device()`. Workers are daemons: a task starts no processes with multiprocessing. A script that uses this
    engine needs the usual `if __name__ == "__main__":`.
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

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "workers": self.workers,
            "threads": self.threads,
            "devices": list(self.devices),
        }

    def run(self, function: Callable[[T], None], tasks: Sequence[T]) -> Iterator[Outcome[T]]:
        """As the contract says; raises `Stopped` where workers end before they can take a task."""
        check_picklable(function, tasks)
        return self._outcomes(function, tasks)

    def _outcomes(self, function: Callable[[T], None], tasks: Sequence[T]) -> Iterator[Outcome[T]]:
        tries = Tries(len(tasks))
        crew = Crew([self._environment(place) for place in range(min(self.workers, len(tasks)))])
        ended: list[Outcome[T]] = []
        try:
            while tries:
                for worker in crew.idle():
                    if (index := tries.next()) is not None:
                        worker.begin(index, packed(function, tasks[index]))
                # told only now, so that no worker waits for the caller
                yield from ended
                ended = [
                    Outcome(tasks[news.task], *report)
                    for news in crew.news()
                    if (report := _judge(news, tries))
                ]
            yield from ended
        finally:
            crew.stop()

    def _environment(self, place: int) -> dict[str, str]:
        return thread_variables(self.threads) | {DEVICE: self.devices[place % len(self.devices)]}


def _judge(news: News, tries: Tries) -> Report | None:
    """What is to be said of a task that a worker has left; None where it is tried again."""
    if news.report is not None:
        tries.ended(news.task)
        return news.report
    if not news.began:
        tries.never_began(news.task)
        return None
    return None if tries.died(news.task) else (death(RETRIES + 1, news.why), None, news.seconds)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
