"""Which task is run next, where a worker may die of one."""

from __future__ import annotations

from collections import deque

from efface.oracles.engines.base import RETRIES


class Tries:
    """Tasks, by index, in the order in which they are to be tried.

    Those whose worker never died come first, then those whose worker died once, and so on. The last try is made alone,
    with nothing else running: where memory ran out, a task that was killed for another's hunger then passes, and
    the hungry one is known.
    """

    def __init__(self, tasks: int) -> None:
        self._deaths = [0] * tasks
        self._waiting: list[deque[int]] = [deque(range(tasks)), *(deque() for _ in range(RETRIES))]
        self._running: set[int] = set()

    def __bool__(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._running) or any(self._waiting)

    def next(self) -> int | None:
        """Begin a task and return it; None if there is none to begin at present."""
        for deaths, waiting in enumerate(self._waiting):
            if waiting:
                if deaths == RETRIES and self._running:
                    return None
                self._running.add(waiting[0])
                return waiting.popleft()
        return None

    def ended(self, task: int) -> None:
        """`task` came to its end, with or without an exception."""
        self._running.remove(task)

    def never_began(self, task: int) -> None:
        """The worker was gone before it saw `task`, which is not to blame."""
        self._running.remove(task)
        self._waiting[self._deaths[task]].appendleft(task)

    def died(self, task: int) -> bool:
        """The worker of `task` died; returns whether the task is tried again."""
        self._running.remove(task)
        self._deaths[task] += 1
        again = self._deaths[task] <= RETRIES
        if again:
            self._waiting[self._deaths[task]].append(task)
        return again
