"""How much goes through a model at once where nothing is learnt: batches by pixels, smaller ones where memory ends.

The bound on pixels holds for a whole job and comes from its config. A batch for which memory does not suffice is done
again in two halves, and no later one is as large. Sizes of batches do not change figures beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, Self, TypeVar

from efface.errors import Stopped

PIXELS = 64 * 224 * 224
"""The bound on pixels of a job that sets none: 64 pictures of 224 px, 12 of 512 px."""
MESSAGES = ("can't allocate memory", "out of memory", "not enough memory", "bad allocation")
"""In what torch raises on CPUs, CUDA, MPS and others, in lower case; only some have a class of their own."""


class Batch(Protocol):
    """Anything with a length that can be cut, such as a range, a list or crops."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


BatchT = TypeVar("BatchT", bound=Batch)
Result = TypeVar("Result")


class Room:
    """The memory of a job: how many pixels go through a model at once, and what became of that.

    tell: is given a sentence each time that memory ended; `notes` keeps them.
    """

    def __init__(self, pixels: int = PIXELS, tell: Callable[[str], None] = lambda note: None) -> None:
        self.pixels, self.tell = pixels, tell
        self.notes: list[str] = []

    def note(self, note: str) -> None:
        """Tell and keep a sentence, once."""
        if note not in self.notes:
            self.notes.append(note)
            self.tell(note)


_ROOM: ContextVar[Room] = ContextVar("room", default=Room())  # noqa: B039


def room() -> Room:
    """That of the present job; outside of jobs one with the usual bound, which this process keeps."""
    return _ROOM.get()


@contextmanager
def within(room: Room) -> Iterator[Room]:
    """Make `room` that of everything that is computed in the block."""
    token = _ROOM.set(room)
    try:
        yield room
    finally:
        _ROOM.reset(token)


def images_at_once(most: int, side: int) -> int:
    """Images of a square input of `side` pixels in a batch: at most `most`, as many as the bound allows, at least one."""
    return max(1, min(most, room().pixels // (side * side)))


def in_batches(count: int, most: int, side: int, compute: Callable[[range], Result]) -> Iterator[Result]:
    """What `compute` gives for the images 0 to `count - 1`, batch by batch; arguments as of `images_at_once`.

    compute: is called again with half of a range where memory did not suffice, so it must not have changed anything then.
    """
    first = 0
    while first < count:
        batch = range(first, min(first + images_at_once(most, side), count))
        yield from fitting([batch], side, compute)
        first = batch.stop


def fitting(batches: Iterable[BatchT], side: int, compute: Callable[[BatchT], Result]) -> Iterator[Result]:
    """What `compute` gives for each batch, or for the parts into which it has to be cut; as of `in_batches`.

    Raises `Stopped` where memory does not suffice for a single image.
    """
    for batch in batches:
        waiting = [batch]
        while waiting:
            part = waiting.pop(0)
            size = images_at_once(len(part), side)
            if size < len(part):
                waiting[:0] = [part[:size], part[size:]]
                continue
            try:
                result = compute(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                yield result
                continue
            # out here nothing holds what was computed so far
            _shrink(len(part), side)
            waiting.insert(0, part)


def restarting(most: int, side: int, compute: Callable[[int], Result]) -> Result:
    """What `compute` gives when told how many images go at once; begun anew with fewer where memory does not suffice."""
    while True:
        size = images_at_once(most, side)
        try:
            return compute(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        _shrink(size, side)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device or of the machine did not suffice."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in MESSAGES)


def release_memory() -> None:
    """Give back what torch keeps for later, so that smaller batches find room."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _shrink(images: int, side: int) -> None:
    """Halve the bound after a batch of `images` did not fit; raises `Stopped` for a batch of one."""
    if images == 1:
        raise Stopped(
            f"stopped: memory does not suffice for a single image of {side} x {side} pixels. Free memory, or take another "
            "device (--device cpu); the same command continues"
        )
    here = room()
    here.pixels = images // 2 * side * side
    here.note(
        f"memory ended at a batch of {images} images of {side} px: from here on {images // 2} at once "
        f"(batch_pixels={here.pixels})"
    )
    release_memory()
