"""Work on images that several processes share out: each does a part of them, and all get the whole.

All processes go through the same code, and whatever else they compute comes out alike; only the first one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from efface.errors import EffaceError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sharers:
    """The processes that share work, as one of them sees them. gather: a value of each, in their order, in all of them."""

    rank: int
    count: int
    gather: Callable[[object], list[Any]]


_SHARERS: ContextVar[Sharers | None] = ContextVar("sharing", default=None)


@contextmanager
def sharing(processes: Sharers | None) -> Iterator[None]:
    """Share out in the block what can be shared, where there is more than one process."""
    token = _SHARERS.set(processes if processes and processes.count > 1 else None)
    try:
        yield
    finally:
        _SHARERS.reset(token)


def in_shares(
    count: int, compute: Callable[[range], Result], join: Callable[[list[Result]], Result]
) -> Result:
    """`compute(range(count))`, of which each process does a part, and `join` puts the parts together in their order.

    An `EffaceError` in one process is raised in all.
    """
    here = _SHARERS.get()
    if here is None:
        return compute(range(count))
    mine = range(count * here.rank // here.count, count * (here.rank + 1) // here.count)
    try:
        with sharing(None):
            found: list[Result] | EffaceError = [compute(mine)] if mine else []
    except EffaceError as error:
        found = error
    parts = here.gather(found)
    for part in parts:
        if isinstance(part, EffaceError):
            raise part
    return join([result for part in parts for result in part])


def of_the_first(value: Callable[[], Result]) -> Result:
    """What the first process finds, in all of them; the others do not look."""
    here = _SHARERS.get()
    if here is None:
        return value()
    result: Result = here.gather(value() if here.rank == 0 else None)[0]
    return result
