"""The training log of a run, `log.jsonl`: the steps of each phase.

A damaged line is passed over and counted, because a run that was killed may leave half a line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.documents import parse_json
from efface.errors import InputError

NOT_A_LOSS = ("time", "event", "phase", "step", "steps", "seconds", "gradient_norm", "learning_rate")


@dataclass(frozen=True)
class Steps:
    """The logged steps of one phase: `steps` in order, `planned` of them in all, and values by name."""

    phase: str
    planned: int | None
    steps: list[int]
    values: dict[str, list[float]]

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
    """The log at `path`; empty where there is none."""
    lines = list(_lines(path))
    events = [line for line in lines if line]
    return TrainingLog(_phases(events), len(lines) - len(events))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Each line of the log, {} for one that is damaged."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            event = parse_json(line, str(path))
        except InputError:
            event = {}
        yield event if isinstance(event, dict) else {}


def _phases(events: Sequence[Mapping[str, Any]]) -> list[Steps]:
    """Steps by phase. A step that a continued run did a second time counts once, as it was done last."""
    planned: dict[str, int | None] = {}
    by_step: dict[str, dict[int, Mapping[str, Any]]] = {}
    for event in events:
        if event.get("event") not in ("phase", "step") or "phase" not in event:
            continue
        phase = str(event["phase"])
        planned[phase] = event.get("steps", planned.get(phase))
        if event["event"] == "step" and isinstance(event.get("step"), int):
            by_step.setdefault(phase, {})[event["step"]] = event
    return [_steps(phase, count, by_step.get(phase, {})) for phase, count in planned.items()]


def _steps(phase: str, planned: int | None, by_step: Mapping[int, Mapping[str, Any]]) -> Steps:
    order = sorted(by_step)
    names = dict.fromkeys(
        name for step in order for name, value in by_step[step].items() if _is_number(value)
    )
    values = {name: [_number(by_step[step].get(name)) for step in order] for name in names}
    return Steps(phase, planned, order, values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    """The value as a finite float, NaN for everything else: a gap in the curve."""
    return float(value) if _is_number(value) and math.isfinite(value) else math.nan
