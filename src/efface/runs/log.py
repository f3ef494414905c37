"""The training log of a run, `log.jsonl`: the steps of each phase, read line by line and thinned out where there are many.

A damaged line is passed over and counted, because a run that was killed may leave half a line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from efface.documents import parse_json
from efface.errors import InputError

NOT_A_LOSS = ("time", "event", "phase", "step", "steps", "seconds", "gradient_norm", "learning_rate")
MOST_POINTS = 4096
"""Steps of a phase that are kept: more than a chart can show. From then on every second one is, and so on."""
MOST_PHASES, MOST_VALUES, MOST_LINE = 100, 100, 1 << 20
"""Phases, values of a step, and bytes of a line; what is beyond counts as damaged, or is left out."""


@dataclass(frozen=True)
class Steps:
    """The logged steps of one phase: `steps` in order, `planned` of them in all, and values by name.

    is_thinned: whether more were logged than are kept.
    """

    phase: str
    planned: int | None
    steps: list[int]
    values: dict[str, list[float]]
    is_thinned: bool = False

    @property
    def losses(self) -> dict[str, list[float]]:
        """The loss first, then its parts in the order of the log."""
        names = [name for name in self.values if name not in NOT_A_LOSS]
        return {name: self.values[name] for name in sorted(names, key=lambda name: name != "loss")}


@dataclass(frozen=True)
class TrainingLog:
    """The phases in their order, and how many lines could not be read."""

    phases: list[Steps]
    damaged_lines: int


def read_log(path: Path) -> TrainingLog:
    """The log at `path`; empty where there is none. Takes memory for what is kept alone, however long the log is."""
    phases: dict[str, _Phase] = {}
    damaged = 0
    for event in _events(path):
        if event is None:
            damaged += 1
        elif event.get("event") in ("phase", "step") and isinstance(name := event.get("phase"), str):
            if name in phases or len(phases) < MOST_PHASES:
                phases.setdefault(name, _Phase()).add(event)
            else:
                damaged += 1
    return TrainingLog([phase.steps(name) for name, phase in phases.items()], damaged)


def _events(path: Path) -> Iterator[dict[str, JsonValue] | None]:
    """Each line of the log, None for one that is damaged."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        while line := file.readline(MOST_LINE):
            if not line.endswith(b"\n") and len(line) == MOST_LINE:
                while (rest := file.readline(MOST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield None
                continue
            try:
                event = parse_json(line, "a line of the log")
            except InputError:
                event = None
            yield event if isinstance(event, dict) and event else None


@dataclass
class _Phase:
    """A phase as far as it was read. A step that a continued run did a second time counts once, as it was done last."""

    planned: int | None = None
    first: int | None = None
    stride: int = 1
    names: dict[str, int] = field(default_factory=dict)
    kept: dict[int, list[float]] = field(default_factory=dict)

    def add(self, event: Mapping[str, JsonValue]) -> None:
        planned, step = event.get("steps"), event.get("step")
        if isinstance(planned, int):
            self.planned = planned
        if event["event"] != "step" or not isinstance(step, int):
            return
        self.first = step if self.first is None else self.first
        if (step - self.first) % self.stride:
            return
        values = {name: _number(value) for name, value in event.items() if _is_number(value)}
        for name in values:
            if name not in self.names and len(self.names) < MOST_VALUES:
                self.names[name] = len(self.names)
        self.kept[step] = [values.get(name, math.nan) for name in self.names]
        if len(self.kept) > MOST_POINTS:
            self.stride *= 2
            self.kept = {
                step: kept for step, kept in self.kept.items() if (step - self.first) % self.stride == 0
            }

    def steps(self, phase: str) -> Steps:
        order = sorted(self.kept)
        values = {
            name: [kept[place] if place < len(kept := self.kept[step]) else math.nan for step in order]
            for name, place in self.names.items()
        }
        return Steps(phase, self.planned, order, values, self.stride > 1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: JsonValue) -> float:
    """The value as a finite float, NaN for everything else: a gap in the curve."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
