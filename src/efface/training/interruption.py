"""Signals that ask for an end: a run stops at its next step, any other work at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C; a scheduler's stop; a closed terminal; and the two that schedulers send some time before a limit."""


class StopRequest:
    """Inside the `with` block, the first of the `STOPPING` signals only sets `signal_name`; a second one ends the work.

    A signal that is ignored stays so: a run under `nohup` outlives its terminal.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # only the main thread may set handlers; elsewhere the caller decides about signals
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._take_note) for number in _heeded()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take_note(self, number: int, stack: FrameType | None) -> None:
        if self.signal_name is not None:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


def interrupt_on_signals() -> None:
    """Outside of training, let all of the `STOPPING` signals raise `KeyboardInterrupt`, as Ctrl-C does."""
    for number in _heeded():
        signal.signal(number, signal.default_int_handler)


def _heeded() -> list[signal.Signals]:
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
