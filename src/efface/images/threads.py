"""A function over many things in threads: in order, with few of them in flight at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""

CHUNK = 8


def usable_cores() -> int:
    """How many threads are worth starting: the cores of this process, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_threads(
    function: Callable[[Thing], Result], things: Iterable[Thing], threads: int | None = None
) -> Iterator[Result]:
    """`function(thing)` for each thing, in order.

    At most (threads + 2) * 8 results wait at a time, so memory does not grow with the number of
    things. An exception of `function` is raised at its turn, and what has not started is dropped.
    """
    threads = threads or usable_cores()
    remaining = iter(things)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            while True:
                while len(waiting) < threads + 2 and (chunk := list(islice(remaining, CHUNK))):
                    waiting.append(pool.submit(_each, function, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _each(function: Callable[[Thing], Result], chunk: list[Thing]) -> list[Result]:
    return [function(thing) for thing in chunk]
