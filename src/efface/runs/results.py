"""A finished run as one object: its record, and what the result files beside it hold.

Pages, the comparison of runs and the command line get this object. A damaged file is an error; a file that does not
apply to the run is absent, and its part empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from efface.documents import Absent, read_json
from efface.errors import InputError
from efface.evaluation.results import (
    MODELS,
    SETS,
    ModelName,
    Row,
    SetName,
    Worst,
    find,
    read_results,
)
from efface.evaluation.verdict import Verdict
from efface.files import sha256_of_file, write_json
from efface.probes.findings import Curve, Finding, Findings, Hit
from efface.runs.by_image import ByImage, read_by_image
from efface.runs.digests import unlisted_results
from efface.runs.log import TrainingLog, read_log
from efface.runs.record import Record, is_intact, read_record
from efface.runs.requirements import Outcome, State
from efface.settings import problems_of, validated

__all__ = [
    "MODELS",
    "SETS",
    "ByImage",
    "Curve",
    "Finding",
    "Findings",
    "FinishedRun",
    "Hit",
    "ModelName",
    "Outcome",
    "Row",
    "SetName",
    "State",
    "Verdict",
    "Worst",
    "find",
    "findings_of",
    "plain_findings",
    "read_by_image",
    "read_findings",
    "read_requirements",
    "read_results",
    "read_verdict",
    "read_worst",
    "write_findings",
    "write_requirements",
    "write_verdict",
    "write_worst",
]  # fmt: skip
"""What a finished run consists of, with the types of its parts: pages read them from here."""

Entry = TypeVar("Entry", Row, Finding)
OUTCOMES, WORST = TypeAdapter(list[Outcome]), TypeAdapter(list[Worst])


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, record, rows, worst-hit entries, outcomes, what its probes found, and the verdict, None
    without an unlearned model.

    mismatches: files that are not those of which the record speaks, by name. The lists are empty where the run has none.
    """

    path: Path
    record: Record
    rows: list[Row]
    worst: list[Worst]
    requirements: list[Outcome]
    findings: Findings
    verdict: Verdict | None
    mismatches: list[str]

    @classmethod
    def read(cls, run: Path) -> FinishedRun:
        """Read `run`; raises `InputError` where it is not finished, measured nothing, or a file is damaged."""
        run = Path(run)
        record = read_record(run)
        return cls(
            run,
            record,
            [_finite(row) for row in read_results(run)],
            read_worst(run),
            read_requirements(run),
            read_findings(run),
            read_verdict(run),
            _mismatches(run, record),
        )

    @cached_property
    def log(self) -> TrainingLog:
        """The logged steps of training."""
        return read_log(self.path / "log.jsonl")

    def by_image(self, metrics: Iterable[str]) -> ByImage:
        """The first of `metrics` that single images have a value of."""
        return read_by_image(self.path, metrics)


def read_worst(run: Path) -> list[Worst]:
    """`worst.json`; empty where there is none. Raises `InputError` where it is damaged."""
    return _listed(run / "worst.json", WORST)


def write_worst(run: Path, worst: Iterable[Worst]) -> None:
    """Write `worst.json`."""
    write_json(run / "worst.json", [asdict(entry) for entry in worst])


def read_requirements(run: Path) -> list[Outcome]:
    """`requirements.json`, in its order; empty where there is none. Raises `InputError` where it is damaged."""
    return _listed(run / "requirements.json", OUTCOMES)


def write_requirements(run: Path, outcomes: Iterable[Outcome]) -> None:
    """Write `requirements.json`."""
    write_json(run / "requirements.json", [outcome.as_dict() for outcome in outcomes])


def read_verdict(run: Path) -> Verdict | None:
    """`verdict.json`; None where there is none. Raises `InputError` where it is damaged."""
    path = run / "verdict.json"
    values = _json(path)
    return None if values is None else validated(Verdict, values, f"{path} is damaged")


def write_verdict(run: Path, verdict: Verdict) -> None:
    """Write `verdict.json`."""
    write_json(run / "verdict.json", verdict.as_dict())


def read_findings(run: Path) -> Findings:
    """`probes.json`; empty where there is none. Raises `InputError` where it is damaged.

    Numbers that are not finite become None, with a note.
    """
    path = run / "probes.json"
    values = _json(path)
    try:
        return Findings() if values is None else findings_of(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def write_findings(run: Path, findings: Findings) -> None:
    """Write `probes.json`."""
    write_json(run / "probes.json", plain_findings(findings))


def findings_of(values: Mapping[str, Any]) -> Findings:
    """What `plain_findings` gave. Raises `KeyError`, `TypeError` and the like where it is something else."""
    return Findings(
        tuple(_finite(Finding(**entry)) for entry in values.get("figures", ())),
        tuple(
            Curve(**{**entry, "x": _numbers(entry["x"]), "y": _numbers(entry["y"])})
            for entry in values.get("curves", ())
        ),
        tuple(Hit(**entry) for entry in values.get("hits", ())),
        tuple(str(note) for note in values.get("notes", ())),
    )


def plain_findings(findings: Findings) -> Any:
    """JSON-ready values, with null for what JSON has no number for."""
    return _plain(asdict(findings))


Listed = TypeVar("Listed")


def _listed(path: Path, entries: TypeAdapter[list[Listed]]) -> list[Listed]:
    try:
        return entries.validate_python(_json(path) or [])
    except ValidationError as error:
        raise InputError(*problems_of(error), what=f"{path} is damaged") from None


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except Absent:
        return None


def _finite(entry: Entry) -> Entry:
    """The same with None for numbers that are not finite, and a note that says so."""
    odd = [
        name for name, value in vars(entry).items() if isinstance(value, float) and not math.isfinite(value)
    ]
    if not odd:
        return entry
    absent: dict[str, Any] = dict.fromkeys(odd)
    names = ", ".join(name.replace("_", " ") for name in odd)
    return replace(entry, **absent, note=entry.note or f"not a finite number: {names}")


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mismatches(run: Path, record: Record) -> list[str]:
    changed = [] if is_intact(run) else ["record.json"]
    recorded = record.results.files if record.results else {}
    for name, digest in recorded.items():
        path = run / name
        if not path.is_file() or sha256_of_file(path) != digest:
            changed.append(name)
    # a file that was laid beside the others would be shown as if the run had written it
    return [*changed, *unlisted_results(run, record)]
