"""Progress of long work: a bar with time left on a terminal, plain lines elsewhere, always a JSONL log."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from efface.wording import printable, printable_lines

Tracker = Callable[[int, str, int, int, Mapping[str, float]], None]
"""Is told place and name of a phase, a step of how many, and its figures."""
PLAIN_LINE_EVERY = 10.0
"""Seconds between plain lines where there is no terminal."""


class PlainConsole(Console):
    """A console that shows texts as they are: nothing in them is markup, and nothing steers the terminal."""

    def __init__(self, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(file=file, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **style: Any) -> Text:
        return super().render_str(printable_lines(text), **style)


class Task:
    """One piece of work with a known number of parts."""

    def __init__(self, progress: Progress, name: str, total: int, done: int) -> None:
        self.name, self.total, self.done = name, total, done
        self._progress = progress
        self._started, self._begun_with, self._told = time.monotonic(), done, time.monotonic()

    def advance(self, parts: int = 1, **shown: float) -> None:
        """`parts` more are done; `shown` stands beside the bar, for example the loss."""
        self.done += parts
        self._progress._show(self, shown)

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the speed since the task began; None before its first part."""
        made = self.done - self._begun_with
        if made <= 0:
            return None
        return (time.monotonic() - self._started) / made * (self.total - self.done)


class Progress:
    """Where a run tells what it is doing. `Progress()` is silent and keeps no log."""

    def __init__(self, log: Path | None = None, console: Console | None = None) -> None:
        self._log = log
        self._console = console
        self._bars: Bars | None = None
        self._bar: Any = None
        self.tracker: Tracker | None = None
        self._counting: tuple[str, AbstractContextManager[Task], Task] | None = None

    @classmethod
    def on_terminal(cls, log: Path | None = None) -> Progress:
        """Progress on standard error, so that standard output stays clean for results."""
        return cls(log, PlainConsole(sys.stderr))

    def logging_to(self, log: Path) -> Progress:
        """The same console with another log. A last line that a kill or a full disk cut short is ended."""
        if log.exists() and log.stat().st_size:
            with open(log, "rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        return Progress(log, self._console)

    def say(self, text: str) -> None:
        """One line for the person who waits."""
        if self._console:
            self._console.print(text, soft_wrap=True)

    def measured(self, place: int, phase: str, step: int, steps: int, **values: float) -> None:
        """The figures of a step, for the log and for trackers. place: that of the phase among all."""
        self.log("step", phase=phase, step=step, steps=steps, **values)
        if self.tracker is not None:
            self.tracker(place, phase, step, steps, values)

    def note(self, text: str) -> None:
        """A sentence for the person who waits and for the log."""
        self.say(f"note: {text}")
        self.log("note", text=text)

    def log(self, event: str, **values: Any) -> None:
        """One line of the JSONL log; the write is flushed. JSON has no NaN or infinity: they become null."""
        if self._log is None:
            return
        odd = {name for name, value in values.items() if isinstance(value, float) and not isfinite(value)}
        values |= dict.fromkeys(odd)
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values}
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=True) + "\n")

    def count(self, name: str, done: int, total: int) -> None:
        """Tell how far a piece of work is that counts by itself; for use as a callback."""
        if self._counting is None or self._counting[0] != name:
            self.finish_counting()
            block = self.task(name, total)
            self._counting = name, block, block.__enter__()
        task = self._counting[2]
        task.advance(done - task.done)
        if done >= total:
            self.finish_counting()

    def finish_counting(self) -> None:
        """Close the display that `count` opened, also where the work stopped early."""
        if self._counting is not None:
            self._counting[1].__exit__(None, None, None)
            self._counting = None

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Task]:
        """Show `name` while the block runs; `done` parts were done by an earlier start."""
        task = Task(self, name, total, done)
        if self._console and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Bars(
                *columns,
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}", markup=False),
                console=self._console,
            ) as bars:
                self._bars, self._bar = (
                    bars,
                    bars.add_task(printable(name), total=total, completed=done, shown=""),
                )
                try:
                    yield task
                finally:
                    self._bars = None
        else:
            self.say(f"{name}: {done} of {total}")
            yield task
            self.say(f"{name}: done in {_duration(time.monotonic() - task._started)}")

    def _show(self, task: Task, shown: dict[str, float]) -> None:
        text = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
        if self._bars is not None:
            fields: dict[str, Any] = {"shown": text} if text else {}
            self._bars.update(self._bar, completed=task.done, **fields)
        elif self._console and time.monotonic() - task._told >= PLAIN_LINE_EVERY and task.done < task.total:
            task._told = time.monotonic()
            left = task.seconds_left
            remaining = f", {_duration(left)} left" if left is not None else ""
            self.say(f"{task.name}: {task.done} of {task.total}{remaining} {text}".rstrip())


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
