"""What a report is made from: the files of a run folder, read with patience for what is absent.

Only `results.json` must be there. A damaged record is an error; a damaged line of the log is passed over
and counted, because a run that was killed may leave half a line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.evaluation.requirements import Verdict
from efface.evaluation.results import Row, Worst, read_results
from efface.files import sha256_of_file
from efface.probes.findings import Findings
from efface.reports.found_files import (
    BY_IMAGE,
    ByImage,
    read_by_image,
    read_findings,
    read_requirements,
)
from efface.runs.record import digest_of, read_record, unlisted_results

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
class RunFiles:
    """A run's record (empty where there is none), rows, worst-hit entries and training log.

    mismatches: files that are not those of which the record speaks, by name. requirements, findings and by_image are
    empty where the run has none.
    """

    record: dict[str, Any]
    rows: list[Row]
    worst: list[Worst]
    phases: list[Steps] = field(default_factory=list)
    damaged_lines: int = 0
    mismatches: list[str] = field(default_factory=list)
    requirements: list[Verdict] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    by_image: ByImage = field(default_factory=ByImage)

    @classmethod
    def read(cls, run: Path) -> RunFiles:
        """Read `run`; raises `InputError` where results are missing or a file other than the log is damaged."""
        record = read_record(run) if (run / "record.json").exists() else {}
        rows = [_finite(row) for row in read_results(run)]
        lines = list(_log_lines(run / "log.jsonl"))
        events = [line for line in lines if line]
        return cls(
            record,
            rows,
            _worst(run),
            _phases(events),
            len(lines) - len(events),
            _mismatches(run, record),
            read_requirements(run),
            read_findings(run),
            read_by_image(run, BY_IMAGE),
        )

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the record; empty where it is absent or null."""
        return self.record.get(name) or {}


def _finite(row: Row) -> Row:
    numbers = ("value", "low", "high", "reference_value", "distance", "distance_low", "distance_high")
    odd = [
        name for name in numbers if (number := getattr(row, name)) is not None and not math.isfinite(number)
    ]
    if not odd:
        return row
    note = row.note or f"not a finite number: {', '.join(name.replace('_', ' ') for name in odd)}"
    absent: dict[str, Any] = dict.fromkeys(odd)
    return replace(row, **absent, note=note)


def _worst(run: Path) -> list[Worst]:
    path = run / "worst.json"
    try:
        return [Worst(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _log_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Each line of the log, {} for one that is damaged."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            event = {}
        yield event if isinstance(event, dict) else {}


def _phases(events: list[dict[str, Any]]) -> list[Steps]:
    """Steps by phase. A step that a continued run did again counts once, as it was done last."""
    planned: dict[str, int | None] = {}
    by_step: dict[str, dict[int, dict[str, Any]]] = {}
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


def _mismatches(run: Path, record: Mapping[str, Any]) -> list[str]:
    found = []
    if "digest" in record:
        try:
            intact = digest_of(record) == record["digest"]
        except UnicodeError:
            intact = False
        if not intact:
            found.append("record.json")
    recorded = (record.get("results") or {}).get("files", {})
    for name, digest in recorded.items():
        path = run / name
        if not path.is_file() or sha256_of_file(path) != digest:
            found.append(str(name))
    # a file that was laid beside the others would be shown as if the run had written it
    return [*found, *(unlisted_results(run, record) if recorded else ())]
